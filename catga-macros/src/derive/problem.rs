//! `#[derive(Problem)]`: what each variant of an error answers over HTTP.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Error, Field, Fields, Ident, LitInt, LitStr, Member, Path,
    Result, Token, Type, ext::IdentExt, meta::ParseNestedMeta, spanned::Spanned,
};

use crate::args::{Alphabet, Argument, Errors, doc_comment, name, only, read_arguments};

/// The members that every problem has.
const RESERVED: [&str; 6] = ["type", "title", "status", "detail", "instance", "code"];

const STATUS: Argument = Argument::required("status", "status = 404");
const CODE: Argument = Argument::optional("code");
const CRATE: Argument = Argument::optional("crate");

/// What `#[problem(..)]` says of an error or a variant, as far as it could be read.
#[derive(Default)]
struct Given {
    status: Option<u16>,
    code: Option<LitStr>,
    /// Where catga-axum is.
    root: Option<Path>,
}

/// A variant, or the whole struct.
struct Case<'a> {
    /// What matches it, up to its fields.
    path: TokenStream,
    /// `None` where it could not be read.
    status: Option<u16>,
    code: LitStr,
    description: String,
    extra: Vec<Extra<'a>>,
}

/// A field that is a member of the answer.
struct Extra<'a> {
    member: Member,
    name: LitStr,
    ty: &'a Type,
    /// The type that describes it in the OpenAPI document, if not `ty`.
    schema: Option<Type>,
}

/// The impl for `input`, and what is wrong with it.
pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let mut root = None;
    let cases = match &input.data {
        Data::Struct(data) => {
            let arguments = [STATUS, CODE, CRATE];
            let given = read(&input.ident, &input.attrs, &arguments, &mut errors);
            root.clone_from(&given.root);
            let path = quote!(Self);
            vec![Case::new(path, &input.ident, &input.attrs, given, &data.fields, &mut errors)]
        }
        Data::Enum(data) => {
            if let Some(attribute) = only(&input.attrs, "problem", &mut errors) {
                root = read_given(attribute, &[CRATE], &mut errors).root;
            }
            data.variants
                .iter()
                .map(|variant| {
                    let ident = &variant.ident;
                    let given = read(ident, &variant.attrs, &[STATUS, CODE], &mut errors);
                    let path = quote!(Self::#ident);
                    Case::new(path, ident, &variant.attrs, given, &variant.fields, &mut errors)
                })
                .collect()
        }
        Data::Union(data) => {
            errors.at(data.union_token, "a problem is an error: a struct or an enum");
            return errors.into_tokens();
        }
    };
    check_codes(&cases, &mut errors);
    let root = root.map_or_else(|| quote!(::catga_axum), Path::into_token_stream);
    let implementation = implement(input, &root, &cases);
    let errors = errors.into_tokens();
    quote!(#errors #implementation)
}

/// What is said of the error or variant `ident`, which must have a status.
fn read(ident: &Ident, attributes: &[Attribute], known: &[Argument], errors: &mut Errors) -> Given {
    match only(attributes, "problem", errors) {
        Some(attribute) => read_given(attribute, known, errors),
        None => {
            errors.at(ident, "a problem has a status: write `#[problem(status = 404)]`");
            Given::default()
        }
    }
}

fn read_given(attribute: &Attribute, known: &[Argument], errors: &mut Errors) -> Given {
    let mut given = Given::default();
    read_arguments(attribute, known, errors, |argument, meta, errors| {
        match argument {
            "status" => given.status = Some(status(&meta.value()?.parse()?)?),
            "code" => given.code = Some(name(meta, Alphabet::Lowercase, errors)?),
            _ => given.root = Some(meta.value()?.call(Path::parse_mod_style)?),
        }
        Ok(())
    });
    given
}

fn status(literal: &LitInt) -> Result<u16> {
    match literal.base10_parse() {
        Ok(status @ 400..=599) => Ok(status),
        _ => Err(Error::new(literal.span(), "the status of a problem is a number from 400 to 599")),
    }
}

impl<'a> Case<'a> {
    fn new(
        path: TokenStream,
        ident: &Ident,
        attributes: &[Attribute],
        given: Given,
        fields: &'a Fields,
        errors: &mut Errors,
    ) -> Self {
        let default = || LitStr::new(&snake_case(&ident.unraw().to_string()), ident.span());
        Self {
            path,
            status: given.status,
            code: given.code.unwrap_or_else(default),
            description: first_paragraph(&doc_comment(attributes)),
            extra: read_extra(fields, errors),
        }
    }
}

/// The fields that are marked as members of the answer.
fn read_extra<'a>(fields: &'a Fields, errors: &mut Errors) -> Vec<Extra<'a>> {
    let mut all: Vec<Extra<'a>> = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        let Some(attribute) = only(&field.attrs, "problem", errors) else { continue };
        let Some(extra) = read_member(member, field, attribute, errors) else { continue };
        if all.iter().any(|other| other.name.value() == extra.name.value()) {
            errors.at(&extra.name, format!("there is a member `{}` already", extra.name.value()));
        } else {
            all.push(extra);
        }
    }
    all
}

/// `#[problem(extra)]`, `#[problem(extra = "name", schema = Type)]`
fn read_member<'a>(
    member: Member,
    field: &'a Field,
    attribute: &Attribute,
    errors: &mut Errors,
) -> Option<Extra<'a>> {
    const ARGUMENTS: [Argument; 2] =
        [Argument::required("extra", "extra"), Argument::optional("schema")];
    let mut name = None;
    let mut schema = None;
    read_arguments(attribute, &ARGUMENTS, errors, |argument, meta, _| {
        match argument {
            "extra" => name = Some(member_name(&member, meta)?),
            _ => schema = Some(meta.value()?.parse()?),
        }
        Ok(())
    });
    Some(Extra { member, name: name?, ty: &field.ty, schema })
}

/// The name that is given, or that of the field.
fn member_name(member: &Member, meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let name = match member {
        _ if meta.input.peek(Token![=]) => meta.value()?.parse::<LitStr>()?,
        Member::Named(ident) => LitStr::new(&ident.unraw().to_string(), ident.span()),
        Member::Unnamed(_) => {
            return Err(meta.error("this field has no name: write `extra = \"name\"`"));
        }
    };
    let text = name.value();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if RESERVED.contains(&text.as_str()) {
        let message = format!(
            "`{text}` is a member of every problem (RFC 9457): write `extra = \"otherName\"`"
        );
        return Err(Error::new(name.span(), message));
    }
    if !text.starts_with(|first: char| first.is_ascii_alphabetic()) || !text.bytes().all(is_word) {
        let message = "the name of a member is a letter, then A-Z a-z 0-9 _";
        return Err(Error::new(name.span(), message));
    }
    Ok(name)
}

/// One code means one status, so that clients can go by either.
fn check_codes(cases: &[Case<'_>], errors: &mut Errors) {
    let mut known: BTreeMap<String, u16> = BTreeMap::new();
    for Case { code, status, .. } in cases {
        let (code_text, Some(status)) = (code.value(), *status) else { continue };
        let first = *known.entry(code_text.clone()).or_insert(status);
        if first != status {
            let message =
                format!("`{code_text}` is answered with {first} above: a code has one status");
            errors.at(code, message);
        }
    }
}

fn implement(input: &DeriveInput, root: &TokenStream, cases: &[Case<'_>]) -> TokenStream {
    let ident = &input.ident;
    let (generics, arguments, clause) = input.generics.split_for_impl();
    let kinds = cases.iter().map(|case| kind(root, case));
    let paths: Vec<_> = cases.iter().map(|case| &case.path).collect();
    let statuses = cases.iter().map(|case| case.status.unwrap_or(500));
    let codes = cases.iter().map(|case| &case.code);
    // A reference to a type without values would need an arm.
    let this = if cases.is_empty() { quote!(*self) } else { quote!(self) };
    let extra = cases.iter().any(|case| !case.extra.is_empty()).then(|| extra(root, cases));
    quote! {
        #[automatically_derived]
        impl #generics #root::problem::ProblemDetails for #ident #arguments #clause {
            const KINDS: &'static [#root::problem::ProblemKind] = &[#(#kinds),*];

            fn status(&self) -> u16 {
                match #this {
                    #(#paths { .. } => #statuses,)*
                }
            }

            fn code(&self) -> &'static str {
                match #this {
                    #(#paths { .. } => #codes,)*
                }
            }

            #extra
        }
    }
}

/// An expression for what the OpenAPI document says of `case`.
fn kind(root: &TokenStream, case: &Case<'_>) -> TokenStream {
    let Case { code, description, .. } = case;
    let status = case.status.unwrap_or(500);
    let extra = case.extra.iter().map(|Extra { name, ty, schema, .. }| {
        let ty = schema.as_ref().unwrap_or(ty);
        quote_spanned!(ty.span()=> #root::problem::ExtraMember::new::<#ty>(#name))
    });
    quote! {
        #root::problem::ProblemKind {
            status: #status,
            code: #code,
            description: #description,
            extra: &[#(#extra),*],
        }
    }
}

/// The method that answers the members.
fn extra(root: &TokenStream, cases: &[Case<'_>]) -> TokenStream {
    let private = quote!(#root::problem::__private);
    let members = Ident::new("members", Span::mixed_site());
    let arms = cases.iter().map(|Case { path, extra, .. }| {
        let local = |at: usize| format_ident!("member{at}", span = Span::mixed_site());
        let fields = extra.iter().enumerate().map(|(at, Extra { member, .. })| {
            let local = local(at);
            quote!(#member: #local,)
        });
        let adds = extra.iter().enumerate().map(|(at, Extra { name, ty, .. })| {
            let local = local(at);
            let add = quote_spanned!(ty.span()=> #private::add_member::<#ty>);
            quote!(#add(&mut #members, #name, #local);)
        });
        quote!(#path { #(#fields)* .. } => { #(#adds)* })
    });
    quote! {
        fn extra(&self) -> ::std::vec::Vec<(&'static str, #private::Value)> {
            let mut #members = ::std::vec::Vec::new();
            match self {
                #(#arms)*
            }
            #members
        }
    }
}

/// The first paragraph of a doc comment, on one line.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// `OrderNotFound` is `order_not_found`, `HTTPGone` is `http_gone`.
fn snake_case(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, &character) in characters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| characters[before]);
        let starts_word = character.is_uppercase()
            && before.is_some_and(|before| {
                let is_last_capital =
                    characters.get(at + 1).is_some_and(|next| next.is_lowercase());
                before != '_' && (!before.is_uppercase() || is_last_capital)
            });
        if starts_word {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_name_in_words() {
        for (name, code) in [
            ("OrderNotFound", "order_not_found"),
            ("HTTPGone", "http_gone"),
            ("Lent", "lent"),
            ("V2Only", "v2_only"),
            ("Not_Here", "not_here"),
        ] {
            assert_eq!(snake_case(name), code);
        }
    }

    #[test]
    fn a_description_is_the_first_paragraph() {
        assert_eq!(first_paragraph("One\nsentence.\n\nMore."), "One sentence.");
        assert_eq!(first_paragraph(""), "");
    }
}
