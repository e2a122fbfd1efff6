//! serde's attributes on what is stored: those that postcard's bytes can't carry are refused where they stand.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Error, Field, Token, Type, token};

use crate::args::Errors;

/// One argument of a `#[serde(..)]`.
struct Given {
    name: String,
    error: Error,
}

/// Those that say nothing of how a value is encoded.
const HARMLESS: [&str; 10] = [
    "alias",
    "bound",
    "crate",
    "default",
    "deny_unknown_fields",
    "expecting",
    "rename",
    "rename_all",
    "skip",
    "rename_all_fields",
];

/// Reports what postcard can't carry above an event, or above an enum of events.
pub(crate) fn check_event(attributes: &[Attribute], errors: &mut Errors) {
    for Given { name, error } in arguments(attributes) {
        if ["tag", "content", "untagged"].contains(&name.as_str()) {
            let message = format!(
                "an event is stored and shown under its own name, and postcard can't read what `{name}` writes: leave this \
                 attribute out"
            );
            errors.add(Error::new(error.span(), message));
        }
    }
}

/// Reports what postcard can't carry on a field that is stored.
pub(crate) fn check_field(field: &Field, errors: &mut Errors) {
    let given = arguments(&field.attrs);
    let has = |name: &str| given.iter().any(|given| given.name == name);
    for Given { name, error } in &given {
        let message = match name.as_str() {
            "skip_serializing_if" => {
                "postcard reads every field, also one that was left out: leave this attribute out, as `None` takes one byte"
            }
            "flatten" => "postcard can't write what is flattened: make it a field like the others",
            "skip_serializing" if !has("skip_deserializing") => {
                "postcard reads every field, also one that was not written: write `skip`"
            }
            "skip_deserializing" if !has("skip_serializing") => {
                "postcard would read this field's bytes as the next one's: write `skip`"
            }
            _ => continue,
        };
        errors.add(Error::new(error.span(), message));
    }
    if has("with") || has("deserialize_with") {
        return;
    }
    if let Some(shown) = without_shape(&field.ty) {
        let message = format!(
            "postcard can't read a `{shown}`, whose bytes do not say what they are: store its text in a `String`, or name \
             its fields in a struct"
        );
        errors.at(&field.ty, message);
    }
}

/// Reports a field of a command that is left out at times.
pub(crate) fn check_command_field(field: &Field, errors: &mut Errors) {
    for Given { name, error } in arguments(&field.attrs) {
        if name == "skip_serializing_if" {
            let message = "a command that is sent again under an id is known by its fields, and one that is left out can't \
                           be told from the next: leave this attribute out";
            errors.add(Error::new(error.span(), message));
        }
    }
}

/// A reference to what knows whether events with these fields must be read back: those of plain types need not be.
pub(crate) fn read_back<'a>(
    attributes: &[Attribute],
    fields: impl IntoIterator<Item = &'a Field> + Clone,
) -> TokenStream {
    let is_harmless = |attributes: &[Attribute]| {
        arguments(attributes).iter().all(|given| HARMLESS.contains(&given.name.as_str()))
    };
    let is_known = is_harmless(attributes)
        && fields.clone().into_iter().all(|field| is_harmless(&field.attrs));
    let types = fields.into_iter().map(|field| &field.ty);
    quote! {{
        #[allow(unused_imports)]
        use ::catga::__private::IsNotPlain as _;
        static READ_BACK: ::catga::__private::ReadBack = ::catga::__private::ReadBack::new(
            #is_known #(&& ::catga::__private::IsPlain::<#types>::ANSWER)*
        );
        &READ_BACK
    }}
}

/// A type in `ty` that `serde_json` or the like has for what has no shape of its own.
fn without_shape(ty: &Type) -> Option<String> {
    find(ty.to_token_stream().into_iter().collect())
}

fn find(tokens: Vec<TokenTree>) -> Option<String> {
    const CRATES: [&str; 5] = ["serde_json", "serde_yaml", "serde_value", "toml", "ciborium"];
    const TYPES: [&str; 3] = ["Value", "Map", "Table"];
    let text: Vec<_> = tokens.iter().map(ToString::to_string).collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token
            && let Some(found) = find(group.stream().into_iter().collect())
        {
            return Some(found);
        }
        if let [library, first, second, rest @ ..] = &text[at..]
            && (first.as_str(), second.as_str()) == (":", ":")
            && CRATES.contains(&library.as_str())
            && let Some(name) = rest.iter().find(|name| TYPES.contains(&name.as_str()))
        {
            return Some(format!("{library}::{name}"));
        }
    }
    None
}

/// What all `#[serde(..)]` among `attributes` say. What can't be read is serde's to report.
fn arguments(attributes: &[Attribute]) -> Vec<Given> {
    let mut given = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let _ = attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            given.push(Given { name, error: Error::new_spanned(&meta.path, "") });
            // `= "value"`, or `(serialize = "..", deserialize = "..")`.
            if meta.input.peek(token::Paren) {
                meta.input.parse::<TokenTree>()?;
            }
            while !meta.input.is_empty() && !meta.input.peek(Token![,]) {
                meta.input.parse::<TokenTree>()?;
            }
            Ok(())
        });
    }
    given
}
