//! `#[catga::event]`, `#[catga::command]` and `#[catga::query]`: the derive of that name, with those it builds on.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Fields, Path, Token, parse_quote, punctuated::Punctuated};

use crate::{
    args::{Argument, Errors, read_arguments},
    derive::{event, message},
    root::Root,
};

/// What the item becomes.
#[derive(Clone, Copy)]
pub(crate) enum Item {
    Event,
    Message(message::Kind),
}

impl Item {
    fn noun(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Message(kind) => kind.noun(),
        }
    }
}

/// The item with its derives, and what is derived of it.
pub(crate) fn expand(item: Item, arguments: TokenStream, mut input: DeriveInput) -> TokenStream {
    let name = format_ident!("{}", item.noun());
    if !arguments.is_empty() {
        input.attrs.push(parse_quote!(#[#name(#arguments)]));
    }
    let generated = match item {
        Item::Event => event::expand(&input),
        Item::Message(kind) => message::expand(kind, &input),
    };
    let derives = derives(&input.attrs, &root(&input.attrs, item));
    strip(&mut input, item);
    quote!(#derives #input #generated)
}

/// Where catga is: `crate = ..` is read again by the derive, which reports what is wrong with it.
fn root(attributes: &[Attribute], item: Item) -> Root {
    let mut root = Root::default();
    let all = ["crate", "name", "version", "validate", "upcast"].map(Argument::optional);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(item.noun())) {
        read_arguments(attribute, &all, &mut Errors::default(), |argument, meta, _| {
            if argument == "crate" {
                return root.read(meta);
            }
            Err(meta.error("read by the derive"))
        });
    }
    root
}

/// The derives that are not there yet.
fn derives(attributes: &[Attribute], root: &Root) -> TokenStream {
    let derived = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let derived = derived.filter_map(|attribute| {
        attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok()
    });
    let derived: Vec<_> = derived
        .flatten()
        .filter_map(|path| path.segments.last().map(|last| last.ident.to_string()))
        .collect();
    let missing = |name: &&str| !derived.iter().any(|derived| derived == name);
    let own = ["Debug", "Clone", "PartialEq"].into_iter().filter(missing);
    let own = own.map(|name| format_ident!("{name}"));
    let serde: Vec<_> = ["Serialize", "Deserialize"].into_iter().filter(missing).collect();
    let tells_root =
        (serde.len() == 2).then(|| quote!(#[serde(crate = "::catga::__private::serde")]));
    let serde = serde.into_iter().map(|name| format_ident!("{name}"));
    let derives = quote! {
        #[derive(#(#own,)* #(::catga::__private::serde::#serde),*)]
        #tells_root
    };
    root.apply(derives)
}

/// Takes out the attributes that only a derive would know.
fn strip(input: &mut DeriveInput, item: Item) {
    let strip = |attributes: &mut Vec<Attribute>, name: &str| {
        attributes.retain(|attribute| !attribute.path().is_ident(name));
    };
    strip(&mut input.attrs, item.noun());
    match &mut input.data {
        Data::Struct(data) => {
            let fields: &mut Fields = &mut data.fields;
            fields.iter_mut().for_each(|field| strip(&mut field.attrs, "key"));
        }
        Data::Enum(data) => {
            data.variants.iter_mut().for_each(|variant| strip(&mut variant.attrs, item.noun()));
        }
        Data::Union(_) => {}
    }
}
