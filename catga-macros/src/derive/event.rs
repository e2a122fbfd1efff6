//! `#[derive(Event)]`: on a struct, one event type and its schema versions; on an enum, all of an aggregate's.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Error, Fields, Ident, LitInt, LitStr, Result, Token,
    Type, meta::ParseNestedMeta, spanned::Spanned, token,
};

use crate::{
    args::{Alphabet, Argument, Errors, doc_comment, name, no_generics, only, read_arguments},
    expand::{Registration, local, registration},
};

/// What `#[event(..)]` says, as far as it could be read.
#[derive(Default)]
struct Given {
    name: Option<LitStr>,
    version: Option<(u16, LitInt)>,
    /// Which type reads each earlier version.
    upcasts: BTreeMap<u16, (LitInt, Type)>,
}

/// The impls for `input`, and what is wrong with it.
pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    no_generics(&input.generics, "an event", &mut errors);
    let attribute = only(&input.attrs, "event", &mut errors);
    let impls = match &input.data {
        Data::Struct(_) => {
            let given = read(&input.ident, attribute, &mut errors);
            implement_struct(input, &given)
        }
        Data::Enum(data) => {
            if let Some(attribute) = attribute {
                let message = "an enum has no name or version of its own: its events do, each on its own struct";
                errors.at(attribute, message);
            }
            let variants = read_variants(&input.ident, data, &mut errors);
            let is_total = variants.len() == data.variants.len() && !variants.is_empty();
            let rest = (!is_total).then(|| quote!(_ => ::core::unreachable!(),));
            implement_enum(&input.ident, &variants, rest.as_ref())
        }
        Data::Union(data) => {
            errors.at(data.union_token, "an event is a struct, or an enum of events");
            TokenStream::new()
        }
    };
    let impls = input.generics.params.is_empty().then_some(impls);
    let errors = errors.into_tokens();
    quote!(#errors #impls)
}

fn read(ident: &Ident, attribute: Option<&Attribute>, errors: &mut Errors) -> Given {
    const ARGUMENTS: [Argument; 3] = [
        Argument::required("name", "name = \"OrderPaid\""),
        Argument::required("version", "version = 1"),
        Argument::optional("upcast"),
    ];
    let mut given = Given::default();
    let Some(attribute) = attribute else {
        let message = format!(
            "an event has a name and a version: write `#[event(name = \"{ident}\", version = 1)]`"
        );
        errors.at(ident, message);
        return given;
    };
    read_arguments(attribute, &ARGUMENTS, errors, |argument, meta, errors| {
        match argument {
            "name" => given.name = Some(name(meta, Alphabet::Dotted, errors)?),
            "version" => given.version = Some(version(meta.value()?.parse()?)?),
            _ => read_upcasts(meta, &mut given.upcasts, errors)?,
        }
        Ok(())
    });
    check_upcasts(&given, errors);
    given
}

/// `(1 = OrderPaidV1, 2 = OrderPaidV2)`
fn read_upcasts(
    meta: &ParseNestedMeta<'_>,
    upcasts: &mut BTreeMap<u16, (LitInt, Type)>,
    errors: &mut Errors,
) -> Result<()> {
    if !meta.input.peek(token::Paren) {
        return Err(meta.error("the old types are in parentheses: write `upcast(1 = YourOldType)`"));
    }
    let content;
    syn::parenthesized!(content in meta.input);
    while !content.is_empty() {
        let (number, literal) = version(content.parse()?)?;
        content.parse::<Token![=]>()?;
        let old = content.parse()?;
        if upcasts.contains_key(&number) {
            errors.at(&literal, format!("version {number} is given twice"));
        }
        upcasts.insert(number, (literal, old));
        if !content.is_empty() {
            content.parse::<Token![,]>()?;
        }
    }
    Ok(())
}

fn version(literal: LitInt) -> Result<(u16, LitInt)> {
    match literal.base10_parse() {
        Ok(number @ 1..) => Ok((number, literal)),
        _ => Err(Error::new(literal.span(), "a version is a number from 1 to 65535")),
    }
}

/// Every version before today's must be readable, and no other one is.
fn check_upcasts(given: &Given, errors: &mut Errors) {
    let Some((today, literal)) = &given.version else { return };
    let missing: Vec<_> = (1..*today)
        .filter(|version| !given.upcasts.contains_key(version))
        .map(|version| format!("{version} = YourOldType"))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        errors.at(
            literal,
            format!("earlier versions stay readable for ever: write `upcast({missing})`"),
        );
    }
    for (number, _) in given.upcasts.range(today..).map(|(_, upcast)| upcast) {
        errors
            .at(number, format!("an upcast is from a version before {today}: leave this one out"));
    }
}

/// The variants and the event in each.
fn read_variants<'a>(
    ident: &Ident,
    data: &'a DataEnum,
    errors: &mut Errors,
) -> Vec<(&'a Ident, &'a Type)> {
    if data.variants.is_empty() {
        errors.at(
            ident,
            format!("`{ident}` needs a variant for each event: write `Paid(YourEvent)`"),
        );
    }
    let mut variants = Vec::new();
    for variant in &data.variants {
        match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                variants.push((&variant.ident, &fields.unnamed[0].ty));
            }
            _ => {
                let message = format!(
                    "a variant holds one event, which is a struct: write `{}(YourEvent)`",
                    variant.ident
                );
                errors.at(variant, message);
            }
        }
    }
    variants
}

fn implement_struct(input: &DeriveInput, given: &Given) -> TokenStream {
    let ident = &input.ident;
    let name = given.name.clone().unwrap_or_else(|| LitStr::new("", ident.span()));
    let today = given.version.as_ref().map_or(0, |(number, _)| *number);
    let decode = quote!(::catga::__private::decode_payload);
    // The type's name is where the compiler says that it lacks serde's derives.
    let encode = quote_spanned! {ident.span()=>
        fn encode(
            &self,
            payload: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<::catga::handler::EventType, ::catga::handler::DecodeError> {
            ::catga::__private::encode_payload(Self::TYPES[0], self, payload)
        }
    };
    let upcasts = given.upcasts.iter().map(|(number, (_, old))| {
        let old_event = quote!(#decode::<#old>(stored, payload)?);
        let lifted =
            quote_spanned!(old.span()=> <Self as ::core::convert::From<#old>>::from(#old_event));
        quote!(#number => #lifted,)
    });
    let setup = local("setup");
    let registration = registration(&Registration {
        kind: "Event",
        name: quote!(#name),
        item: ident.to_string(),
        at: ident.span(),
        doc: &doc_comment(&input.attrs),
        setup: &[quote!(#setup.event::<#ident>())],
    });
    quote! {
        #[automatically_derived]
        impl ::catga::Event for #ident {
            const TYPES: &'static [::catga::handler::EventType] =
                &[::catga::handler::EventType { name: #name, version: #today }];

            #encode

            fn decode(
                name: &str,
                schema: u16,
                payload: &[u8],
            ) -> ::core::result::Result<::core::option::Option<Self>, ::catga::handler::DecodeError> {
                let today = Self::TYPES[0];
                if name != today.name {
                    return ::core::result::Result::Ok(::core::option::Option::None);
                }
                let stored = ::catga::handler::EventType { version: schema, ..today };
                ::core::result::Result::Ok(::core::option::Option::Some(match schema {
                    #(#upcasts)*
                    #today => #decode::<#ident>(stored, payload)?,
                    _ => {
                        return ::core::result::Result::Err(::catga::handler::DecodeError::UnknownVersion {
                            name: today.name,
                            stored: schema,
                            known: today.version,
                        });
                    }
                }))
            }
        }

        const _: () = { #registration };
    }
}

/// `rest` matches the variants that could not be read.
fn implement_enum(
    ident: &Ident,
    variants: &[(&Ident, &Type)],
    rest: Option<&TokenStream>,
) -> TokenStream {
    let (names, events): (Vec<_>, Vec<_>) = variants.iter().copied().unzip();
    let traits =
        events.iter().map(|event| quote_spanned!(event.span()=> <#event as ::catga::Event>));
    let traits: Vec<_> = traits.collect();
    let is_struct = traits.iter().zip(&events).map(|(event, ty)| {
        quote_spanned! {ty.span()=>
            const _: () = ::core::assert!(
                #event::TYPES.len() == 1,
                "a variant holds one event, which is a struct with `#[derive(Event)]`",
            );
        }
    });
    quote! {
        #[automatically_derived]
        impl ::catga::Event for #ident {
            const TYPES: &'static [::catga::handler::EventType] = &[#(#traits::TYPES[0]),*];

            fn encode(
                &self,
                payload: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<::catga::handler::EventType, ::catga::handler::DecodeError> {
                match self {
                    #(Self::#names(event) => #traits::encode(event, payload),)*
                    #rest
                }
            }

            fn decode(
                name: &str,
                schema: u16,
                payload: &[u8],
            ) -> ::core::result::Result<::core::option::Option<Self>, ::catga::handler::DecodeError> {
                #(
                    if let ::core::option::Option::Some(event) = #traits::decode(name, schema, payload)? {
                        return ::core::result::Result::Ok(::core::option::Option::Some(Self::#names(event)));
                    }
                )*
                ::core::result::Result::Ok(::core::option::Option::None)
            }
        }

        #(
            #[automatically_derived]
            impl ::core::convert::From<#events> for #ident {
                fn from(event: #events) -> Self {
                    Self::#names(event)
                }
            }
        )*

        #(#is_struct)*
    }
}
