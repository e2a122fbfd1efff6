//! The path by which generated code finds catga.
//!
//! All of it says `::catga`. In a program that has the crate under another name, `crate = other` in the attribute says
//! so, and the path is replaced in what was generated.

use proc_macro2::{Group, Literal, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Path, Result, meta::ParseNestedMeta};

use crate::args::Argument;

/// `crate = other`.
pub(crate) const CRATE: Argument = Argument::optional("crate");

/// Where derived code tells serde's derives to find serde, as a literal.
const SERDE: &str = "\"::catga::__private::serde\"";

/// What stands for `::catga`; `None` where that is right.
#[derive(Default)]
pub(crate) struct Root(Option<Path>);

impl Root {
    /// Reads the value of `crate = other`.
    pub(crate) fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        self.0 = Some(Path::parse_mod_style(meta.value()?)?);
        Ok(())
    }

    /// `generated`, with the path replaced.
    pub(crate) fn apply(&self, generated: TokenStream) -> TokenStream {
        match &self.0 {
            Some(path) => replace(generated, &path.to_token_stream()),
            None => generated,
        }
    }
}

fn replace(tokens: TokenStream, path: &TokenStream) -> TokenStream {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut replaced = TokenStream::new();
    let mut rest = &tokens[..];
    let mut is_after_segment = false;
    while let Some((token, behind)) = rest.split_first() {
        if let [first, second, TokenTree::Ident(name), ..] = rest
            && is_colon(first)
            && is_colon(second)
            && name == "catga"
            && !is_after_segment
        {
            replaced.extend(path.clone());
            (rest, is_after_segment) = (&rest[3..], true);
            continue;
        }
        is_after_segment =
            matches!(token, TokenTree::Ident(name) if !is_keyword(&name.to_string()));
        replaced.extend([match token {
            TokenTree::Literal(literal) if literal.to_string() == SERDE => {
                let serde = format!("{path}::__private::serde").replace(' ', "");
                TokenTree::Literal(Literal::string(&serde))
            }
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), replace(group.stream(), path));
                inside.set_span(group.span());
                TokenTree::Group(inside)
            }
            other => other.clone(),
        }]);
        rest = behind;
    }
    replaced
}

fn is_colon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':')
}

/// Whether a path can begin behind it.
fn is_keyword(name: &str) -> bool {
    ["impl", "for", "as", "return", "in", "match", "dyn", "if", "let", "mut", "ref", "where"]
        .contains(&name)
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn every_path_to_catga_is_replaced() {
        let root = Root(Some(syn::parse_quote!(crate::other)));
        let generated = quote! {
            #[serde(crate = "::catga::__private::serde")]
            impl ::catga::Event for A {
                const B: &'static [::catga::C] = &[<D as ::catga::E>::F, my::catga::G];
            }
        };
        let replaced = quote! {
            #[serde(crate = "crate::other::__private::serde")]
            impl crate::other::Event for A {
                const B: &'static [crate::other::C] = &[<D as crate::other::E>::F, my::catga::G];
            }
        };
        assert_eq!(root.apply(generated.clone()).to_string(), replaced.to_string());
        assert_eq!(Root::default().apply(generated.clone()).to_string(), generated.to_string());
    }
}
