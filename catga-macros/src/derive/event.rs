//! `#[derive(Event)]`: on a struct, one event type and its schema versions; on an enum, all of an aggregate's.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Error, Ident, LitInt, LitStr, Result, Token, Type,
    meta::ParseNestedMeta, spanned::Spanned, token,
};

use super::event_enum;
use crate::{
    args::{
        Alphabet, Argument, Errors, default_name, doc_comment, name, no_generics, only,
        read_arguments,
    },
    expand::{Registration, local, registration},
    root::{CRATE, Root},
    serde_attributes::{check_event, check_field, read_back},
};

/// What `#[event(..)]` says, as far as it could be read.
pub(super) struct Given {
    pub(super) name: LitStr,
    pub(super) version: u16,
    /// Which type reads each earlier version.
    pub(super) upcasts: BTreeMap<u16, (LitInt, Type)>,
    root: Root,
}

/// The impls for `input`, and what is wrong with it.
pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    no_generics(&input.generics, "an event", &mut errors);
    let attribute = only(&input.attrs, "event", &mut errors);
    check_event(&input.attrs, &mut errors);
    let (impls, root) = match &input.data {
        Data::Struct(data) => {
            let given = Given::read(&input.ident, attribute, &mut errors);
            data.fields.iter().for_each(|field| check_field(field, &mut errors));
            (implement(input, &given), given.root)
        }
        Data::Enum(data) => {
            let root = attribute.map(|attribute| read_root(attribute, &mut errors));
            (event_enum::expand(&input.ident, data, &mut errors), root.unwrap_or_default())
        }
        Data::Union(data) => {
            errors.at(data.union_token, "an event is a struct, or an enum of events");
            (TokenStream::new(), Root::default())
        }
    };
    let impls = input.generics.params.is_empty().then(|| root.apply(impls));
    let errors = errors.into_tokens();
    quote!(#errors #impls)
}

/// The attribute of an enum, whose events have names and versions and not itself.
fn read_root(attribute: &Attribute, errors: &mut Errors) -> Root {
    let mut root = Root::default();
    let arguments = ["name", "version", "upcast"].map(Argument::optional);
    let [name, version, upcast] = arguments;
    read_arguments(attribute, &[CRATE, name, version, upcast], errors, |argument, meta, _| {
        if argument == "crate" {
            return root.read(meta);
        }
        let message = "an enum has no name or version of its own: its events do, each above its variant or its struct";
        Err(meta.error(message))
    });
    root
}

impl Given {
    /// What `attribute` says of the struct or variant `ident`.
    pub(super) fn read(ident: &Ident, attribute: Option<&Attribute>, errors: &mut Errors) -> Self {
        const ARGUMENTS: [Argument; 4] = [
            Argument::optional("name"),
            Argument::optional("version"),
            Argument::optional("upcast"),
            CRATE,
        ];
        let mut given = Self {
            name: default_name(ident),
            version: 1,
            upcasts: BTreeMap::new(),
            root: Root::default(),
        };
        let Some(attribute) = attribute else { return given };
        let mut at = None;
        read_arguments(attribute, &ARGUMENTS, errors, |argument, meta, errors| {
            match argument {
                "name" => given.name = name(meta, Alphabet::Dotted, errors)?,
                "version" => {
                    let (number, literal) = version(meta.value()?.parse()?)?;
                    (given.version, at) = (number, Some(literal));
                }
                "upcast" => read_upcasts(meta, &mut given.upcasts, errors)?,
                _ => given.root.read(meta)?,
            }
            Ok(())
        });
        check_upcasts(&given, at.as_ref(), errors);
        given
    }

    /// The `EventType`.
    pub(super) fn event_type(&self) -> TokenStream {
        let Self { name, version, .. } = self;
        quote!(::catga::handler::EventType { name: #name, version: #version })
    }

    /// The arms of a `match` on the stored version, each a `Self`: `today` reads the present one.
    pub(super) fn versions(&self, today: &TokenStream) -> TokenStream {
        let version = self.version;
        let upcasts = self.upcasts.iter().map(|(number, (_, old))| {
            let old_event = quote!(::catga::__private::decode_payload::<#old>(stored, payload)?);
            let lifted =
                quote_spanned!(old.span()=> <Self as ::core::convert::From<#old>>::from(#old_event));
            quote!(#number => #lifted,)
        });
        quote! {
            #(#upcasts)*
            #version => #today,
            _ => {
                return ::core::result::Result::Err(::catga::handler::DecodeError::UnknownVersion {
                    name: today.name,
                    stored: schema,
                    known: today.version,
                });
            }
        }
    }
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

/// Every version before today's must be readable, and no other one is. `at` is where today's is given.
fn check_upcasts(given: &Given, at: Option<&LitInt>, errors: &mut Errors) {
    let today = given.version;
    let missing: Vec<_> = (1..today)
        .filter(|version| !given.upcasts.contains_key(version))
        .map(|version| format!("{version} = YourOldType"))
        .collect();
    if let Some(literal) = at.filter(|_| !missing.is_empty()) {
        let missing = missing.join(", ");
        let message = format!("earlier versions stay readable for ever: write `upcast({missing})`");
        errors.at(literal, message);
    }
    for (number, _) in given.upcasts.range(today..).map(|(_, upcast)| upcast) {
        errors
            .at(number, format!("an upcast is from a version before {today}: leave this one out"));
    }
}

/// A struct is one event.
fn implement(input: &DeriveInput, given: &Given) -> TokenStream {
    let ident = &input.ident;
    let Given { name, .. } = given;
    let event_type = given.event_type();
    // The type's name is where the compiler says that it lacks serde's derives.
    let fields = match &input.data {
        Data::Struct(data) => data.fields.iter().collect(),
        _ => Vec::new(),
    };
    let read_back = read_back(&input.attrs, fields);
    // Said first in each function, in one way: what a type lacks to be stored is reported once.
    let check = quote_spanned!(ident.span()=> let _ = ::catga::__private::stored::<#ident>;);
    let encode = quote_spanned! {ident.span()=>
        fn encode(
            &self,
            payload: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<::catga::handler::EventType, ::catga::handler::DecodeError> {
            #check
            ::catga::__private::encode_payload::<Self>(Self::TYPES[0], #read_back, self, payload)
        }
    };
    let versions = given.versions(&quote! {{
        #check
        ::catga::__private::decode_payload::<#ident>(stored, payload)?
    }});
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
            const TYPES: &'static [::catga::handler::EventType] = &[#event_type];

            fn event_type(&self) -> ::catga::handler::EventType {
                Self::TYPES[0]
            }

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
                ::core::result::Result::Ok(::core::option::Option::Some(match schema { #versions }))
            }
        }

        const _: () = { #registration };
    }
}
