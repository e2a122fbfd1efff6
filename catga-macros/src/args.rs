//! The arguments of attributes, read to the last mistake.
//!
//! A reader takes what it can and puts what is wrong into [`Errors`], so that the user sees all mistakes of an
//! item in one build. It knows nothing of what the arguments are for.

use std::fmt;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Error, Expr, ExprLit, Generics, Ident, Lit, LitStr, Meta, Result, Token,
    ext::IdentExt, meta::ParseNestedMeta, parse::ParseStream,
};

/// What is wrong with one item.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Reports `message` under `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl fmt::Display) {
        self.add(Error::new_spanned(tokens, message));
    }

    /// Reports `error`.
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// `value`, if nothing is wrong.
    pub(crate) fn or<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }

    /// All of them, to go beside what could be generated all the same.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.map(Error::into_compile_error).unwrap_or_default()
    }

    /// Gives up with `error` and all errors before it.
    pub(crate) fn and<T>(self, error: Error) -> Result<T> {
        let Some(mut errors) = self.0 else { return Err(error) };
        errors.combine(error);
        Err(errors)
    }
}

/// An argument that an attribute takes.
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    name: &'static str,
    /// What to write if it is missing; `None` if it may be.
    example: Option<&'static str>,
}

impl Argument {
    /// An argument that must be given, as in `example`.
    pub(crate) const fn required(name: &'static str, example: &'static str) -> Self {
        Self { name, example: Some(example) }
    }

    /// An argument that may be left out.
    pub(crate) const fn optional(name: &'static str) -> Self {
        Self { name, example: None }
    }
}

/// Calls `take` for each argument of `attribute`: those of `known`, each at most once.
pub(crate) fn read_arguments(
    attribute: &Attribute,
    known: &[Argument],
    errors: &mut Errors,
    mut take: impl FnMut(&str, &ParseNestedMeta<'_>, &mut Errors) -> Result<()>,
) {
    let mut seen = Vec::new();
    let read = attribute.parse_nested_meta(|meta| {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let taken = if !known.iter().any(|argument| argument.name == name) {
            Err(meta.error(format!("unknown argument; known here: {}", listed(known))))
        } else if seen.contains(&name) {
            Err(meta.error(format!("`{name}` is given twice")))
        } else {
            take(&name, &meta, errors)
        };
        seen.push(name);
        taken.or_else(|error| {
            errors.add(error);
            skip_argument(meta.input)
        })
    });
    if let Err(error) = read {
        return errors
            .add(Error::new(error.span(), format!("{error}; known here: {}", listed(known))));
    }
    for Argument { name, example } in known {
        if let Some(example) = example
            && !seen.iter().any(|seen| seen == name)
        {
            errors.at(attribute.path(), format!("`{name}` is missing: write `{example}`"));
        }
    }
}

/// Reports the generics of what is registered or stored under one name.
pub(crate) fn no_generics(generics: &Generics, noun: &str, errors: &mut Errors) {
    let first = generics.lt_token.map(|lt| lt.span);
    let first = first.or(generics.where_clause.as_ref().map(|clause| clause.where_token.span));
    if let Some(at) = first {
        errors.add(Error::new(
            at,
            format!("{noun} can't be generic: it is known by one name, as one type"),
        ));
    }
}

/// The attribute named `name`, of which there is at most one.
pub(crate) fn only<'a>(
    attributes: &'a [Attribute],
    name: &str,
    errors: &mut Errors,
) -> Option<&'a Attribute> {
    let mut named = attributes.iter().filter(|attribute| attribute.path().is_ident(name));
    let first = named.next();
    for again in named {
        errors.at(again, format!("`#[{name}]` is given twice"));
    }
    first
}

/// A name that is not given: that of the item.
pub(crate) fn default_name(ident: &Ident) -> LitStr {
    LitStr::new(&ident.unraw().to_string(), ident.span())
}

/// The value of `name = ".."`: 1 to 64 characters of `alphabet`.
pub(crate) fn name(
    meta: &ParseNestedMeta<'_>,
    alphabet: Alphabet,
    errors: &mut Errors,
) -> Result<LitStr> {
    let literal: LitStr = meta.value()?.parse()?;
    let name = literal.value();
    if !(1..=64).contains(&name.len()) || !name.bytes().all(|byte| alphabet.has(byte)) {
        errors
            .at(&literal, format!("this name must be 1 to 64 characters of {}", alphabet.label()));
    }
    Ok(literal)
}

/// The characters that a name may have.
#[derive(Clone, Copy)]
pub(crate) enum Alphabet {
    /// For messages and events.
    Dotted,
    /// For event handlers, whose names are parts of keys in stores.
    Lowercase,
}

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Dotted => byte.is_ascii_alphanumeric() || b"_-.".contains(&byte),
            Self::Lowercase => {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
            }
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Dotted => "A-Z a-z 0-9 _ - .",
            Self::Lowercase => "a-z 0-9 _ -",
        }
    }
}

/// The doc comment among `attributes`, lines joined by `\n`, each without the blank after `///`.
pub(crate) fn doc_comment(attributes: &[Attribute]) -> String {
    let lines: Vec<_> = attributes.iter().filter_map(doc_line).collect();
    lines.join("\n").trim().to_owned()
}

/// The `#[cfg]`s among `attributes`: they hold for the generated code too.
pub(crate) fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

/// `tokens` as a user would write them, for a message.
pub(crate) fn shown(tokens: &impl ToTokens) -> String {
    const TIGHT: [(&str, &str); 7] = [
        (" :: ", "::"),
        (":: ", "::"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
    ];
    let text = tokens.to_token_stream().to_string();
    TIGHT.into_iter().fold(text, |text, (spaced, tight)| text.replace(spaced, tight))
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &meta.value else { return None };
    let text = text.value();
    meta.path.is_ident("doc").then(|| text.strip_prefix(' ').unwrap_or(&text).to_owned())
}

fn listed(known: &[Argument]) -> String {
    let names: Vec<_> = known.iter().map(|argument| format!("`{}`", argument.name)).collect();
    names.join(", ")
}

/// Goes on behind an argument that could not be read.
fn skip_argument(input: ParseStream<'_>) -> Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}
