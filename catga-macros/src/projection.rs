//! `#[projection]`: an `impl Projection` and its entry in the catalogue.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Error, Item, ItemImpl, Result, parse_quote, spanned::Spanned};

use crate::{
    args::{Errors, cfgs, doc_comment, no_generics, read_arguments, shown},
    expand::{Registration, local, registration},
    root::{CRATE, Root},
};

/// The code beside the impl in `item`.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut errors = Errors::default();
    let mut root = Root::default();
    let attribute = parse_quote!(#[projection(#arguments)]);
    read_arguments(&attribute, &[CRATE], &mut errors, |_, meta, _| root.read(meta));
    let Ok(Item::Impl(item @ ItemImpl { trait_: Some(_), .. })) = syn::parse2(item) else {
        let message = "this attribute goes above an `impl Projection for ..`";
        return errors.and(Error::new(Span::call_site(), message));
    };
    no_generics(&item.generics, "a projection", &mut errors);
    errors.or(root.apply(register(&item)))
}

fn register(item: &ItemImpl) -> TokenStream {
    let ty = &item.self_ty;
    let setup = local("setup");
    let cfgs = cfgs(&item.attrs);
    let registration = registration(&Registration {
        kind: "Projection",
        name: quote_spanned!(ty.span()=> <#ty as ::catga::Projection>::NAME),
        item: shown(&ty),
        at: ty.span(),
        doc: &doc_comment(&item.attrs),
        setup: &[
            quote_spanned!(ty.span()=> ::catga::__private::register_projection::<#ty>(#setup)),
        ],
    });
    quote! {
        #(#cfgs)*
        const _: () = { #registration };
    }
}
