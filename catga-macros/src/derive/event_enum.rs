//! `#[derive(Event)]` on an enum: each variant is one event, with fields of its own, or holds one that is a struct.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, DataEnum, Field, Fields, Ident, Type, Variant, spanned::Spanned};

use super::event::Given;
use crate::{
    args::{Errors, doc_comment, only},
    expand::{Registration, local, registration},
    serde_attributes::{check_field, read_back},
};

/// A variant that could be read.
enum Event<'a> {
    /// `Paid(OrderPaid)`
    Struct { variant: &'a Ident, ty: &'a Type },
    /// `Paid { method: String }` or `Closed`
    Fields { variant: &'a Variant, given: Given },
}

/// The impls for the enum `ident`.
pub(super) fn expand(ident: &Ident, data: &DataEnum, errors: &mut Errors) -> TokenStream {
    if data.variants.is_empty() {
        let message =
            format!("`{ident}` needs a variant for each event: write `Paid {{ amount: u64 }}`");
        errors.at(ident, message);
    }
    let events: Vec<_> =
        data.variants.iter().filter_map(|variant| Event::read(variant, errors)).collect();
    check_names(&events, errors);
    let is_total = events.len() == data.variants.len() && !events.is_empty();
    let rest = (!is_total).then(|| quote!(_ => ::core::unreachable!(),));
    let types = events.iter().map(Event::event_type);
    let which = events.iter().map(Event::which);
    let encodes = events.iter().map(Event::encode);
    let decodes = events.iter().map(Event::decode);
    let besides = events.iter().map(|event| event.beside(ident));
    quote! {
        #[automatically_derived]
        impl ::catga::Event for #ident {
            const TYPES: &'static [::catga::handler::EventType] = &[#(#types),*];

            fn event_type(&self) -> ::catga::handler::EventType {
                match self {
                    #(#which)*
                    #rest
                }
            }

            fn encode(
                &self,
                payload: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<::catga::handler::EventType, ::catga::handler::DecodeError> {
                match self {
                    #(#encodes)*
                    #rest
                }
            }

            fn decode(
                name: &str,
                schema: u16,
                payload: &[u8],
            ) -> ::core::result::Result<::core::option::Option<Self>, ::catga::handler::DecodeError> {
                #(#decodes)*
                ::core::result::Result::Ok(::core::option::Option::None)
            }
        }

        #(#besides)*
    }
}

/// Reports names that two variants with fields have.
fn check_names(events: &[Event<'_>], errors: &mut Errors) {
    let mut names = HashSet::new();
    for event in events {
        if let Event::Fields { given, .. } = event
            && !names.insert(given.name.value())
        {
            errors.at(&given.name, "another variant has this name, and names are what is stored");
        }
    }
}

impl<'a> Event<'a> {
    fn read(variant: &'a Variant, errors: &mut Errors) -> Option<Self> {
        let ident = &variant.ident;
        let attribute = only(&variant.attrs, "event", errors);
        match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                if let Some(attribute) = attribute {
                    let message = "this event is a struct, which has its own name and version: write this above it";
                    errors.at(attribute, message);
                }
                Some(Self::Struct { variant: ident, ty: &fields.unnamed[0].ty })
            }
            Fields::Unnamed(_) => {
                let message = format!(
                    "the fields of an event have names: write `{ident} {{ .. }}`, or `{ident}(YourEvent)` with a struct"
                );
                errors.at(variant, message);
                None
            }
            Fields::Named(_) | Fields::Unit => {
                variant.fields.iter().for_each(|field| check_field(field, errors));
                let given = Given::read(ident, attribute, errors);
                Some(Self::Fields { variant, given })
            }
        }
    }

    fn event_type(&self) -> TokenStream {
        match self {
            Self::Struct { ty, .. } => {
                quote_spanned!(ty.span()=> <#ty as ::catga::Event>::TYPES[0])
            }
            Self::Fields { given, .. } => given.event_type(),
        }
    }

    /// The arm that answers its type.
    fn which(&self) -> TokenStream {
        let (variant, event_type) = match self {
            Self::Struct { variant, .. } => (*variant, self.event_type()),
            Self::Fields { variant, .. } => (&variant.ident, self.event_type()),
        };
        quote!(Self::#variant { .. } => #event_type,)
    }

    /// The arm that encodes it.
    fn encode(&self) -> TokenStream {
        match self {
            Self::Struct { variant, ty } => {
                let encode = quote_spanned!(ty.span()=> <#ty as ::catga::Event>::encode);
                quote!(Self::#variant(event) => #encode(event, payload),)
            }
            Self::Fields { variant, given } => {
                let name = &variant.ident;
                let (fields, bound) = bound(&variant.fields);
                let (lent, read) =
                    (stored(&variant.fields, Use::Encode), stored(&variant.fields, Use::ReadBack));
                let read_back = read_back(&[], &variant.fields);
                let event_type = given.event_type();
                // The name of the variant is where the compiler says that a field lacks serde's derives.
                quote! {
                    Self::#name { #(#fields: #bound),* } => {
                        #lent
                        #read
                        let stored = Stored { #(#fields: #bound),* };
                        ::catga::__private::encode_payload::<ReadBack>(#event_type, #read_back, &stored, payload)
                    }
                }
            }
        }
    }

    /// Answers it, if the stored name is its own.
    fn decode(&self) -> TokenStream {
        match self {
            Self::Struct { variant, ty } => {
                let decode = quote_spanned!(ty.span()=> <#ty as ::catga::Event>::decode);
                quote! {
                    if let ::core::option::Option::Some(event) = #decode(name, schema, payload)? {
                        return ::core::result::Result::Ok(::core::option::Option::Some(Self::#variant(event)));
                    }
                }
            }
            Self::Fields { variant, given } => {
                let ident = &variant.ident;
                let (fields, _) = bound(&variant.fields);
                let stored = stored(&variant.fields, Use::Decode);
                let event_type = given.event_type();
                let versions = given.versions(&quote! {{
                    #stored
                    let event = ::catga::__private::decode_payload::<Stored>(stored, payload)?;
                    let _ = &event;
                    Self::#ident { #(#fields: event.#fields),* }
                }});
                quote! {
                    let today = #event_type;
                    if name == today.name {
                        let stored = ::catga::handler::EventType { version: schema, ..today };
                        return ::core::result::Result::Ok(::core::option::Option::Some(
                            match schema { #versions }
                        ));
                    }
                }
            }
        }
    }

    /// What stands beside the impl for the enum `ident`.
    fn beside(&self, ident: &Ident) -> TokenStream {
        match self {
            Self::Struct { variant, ty } => {
                let is_struct = quote_spanned! {ty.span()=>
                    const _: () = ::core::assert!(
                        <#ty as ::catga::Event>::TYPES.len() == 1,
                        "a variant holds one event, which is a struct with `#[derive(Event)]`",
                    );
                };
                quote! {
                    #[automatically_derived]
                    impl ::core::convert::From<#ty> for #ident {
                        fn from(event: #ty) -> Self {
                            Self::#variant(event)
                        }
                    }

                    #is_struct
                }
            }
            Self::Fields { variant, given } => {
                let setup = local("setup");
                let name = &given.name;
                let registration = registration(&Registration {
                    kind: "Event",
                    name: quote!(#name),
                    item: format!("{ident}::{}", variant.ident),
                    at: variant.ident.span(),
                    doc: &doc_comment(&variant.attrs),
                    setup: &[quote!(#setup.event::<#ident>())],
                });
                quote!(const _: () = { #registration };)
            }
        }
    }
}

/// The names of the fields, and a variable for each.
fn bound(fields: &Fields) -> (Vec<&Ident>, Vec<Ident>) {
    let names: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let bound = (0..names.len()).map(|index| local(&format!("field_{index}"))).collect();
    (names, bound)
}

/// What a struct with a variant's fields is for.
#[derive(Clone, Copy)]
enum Use {
    /// With references to the fields.
    Encode,
    Decode,
    /// To see that what was encoded is decoded as it was: by the name of `ReadBack`. It is encoded as that with the
    /// references, so that a field that can't be is reported once.
    ReadBack,
}

/// A struct with the variant's fields, `Stored`, which is encoded as the struct of that event would be.
fn stored(fields: &Fields, usage: Use) -> TokenStream {
    let derived: &[&str] = match usage {
        Use::Encode => &["Serialize"],
        Use::Decode | Use::ReadBack => &["Deserialize"],
    };
    let derived = derived.iter().map(|name| format_ident!("{name}"));
    let name = match usage {
        Use::Encode | Use::Decode => format_ident!("Stored"),
        Use::ReadBack => format_ident!("ReadBack"),
    };
    let is_lent = matches!(usage, Use::Encode);
    let stored = fields.iter().map(|Field { attrs, ident, ty, .. }| {
        let serde =
            attrs.iter().filter(|attribute: &&Attribute| attribute.path().is_ident("serde"));
        let ty = if is_lent { quote_spanned!(ty.span()=> &'e #ty) } else { quote!(#ty) };
        quote!(#(#serde)* #ident: #ty)
    });
    let lifetime = (is_lent && !fields.is_empty()).then(|| quote!(<'e>));
    let encoded = matches!(usage, Use::ReadBack).then(|| encoded_as_lent(fields));
    quote! {
        #[derive(#(::catga::__private::serde::#derived),*)]
        #[serde(crate = "::catga::__private::serde")]
        struct #name #lifetime { #(#stored),* }
        #encoded
    }
}

/// Encodes a `ReadBack` as the `Stored` with references to its fields.
fn encoded_as_lent(fields: &Fields) -> TokenStream {
    let (fields, bound) = bound(fields);
    let [serialize, serializer] = ["Serialize", "Serializer"]
        .map(|name| format_ident!("{name}"))
        .map(|name| quote!(::catga::__private::serde::#name));
    quote! {
        impl #serialize for ReadBack {
            fn serialize<S: #serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                let Self { #(#fields: #bound),* } = self;
                #serialize::serialize(&Stored { #(#fields: #bound),* }, serializer)
            }
        }
    }
}
