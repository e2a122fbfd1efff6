//! `#[derive(Command)]` and `#[derive(Query)]`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitStr, Member, Type, spanned::Spanned};

use crate::args::{Alphabet, Argument, Errors, name, no_generics, only, read_arguments};

/// Which of the two is derived.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Command,
    Query,
}

/// What the attribute says, as far as it could be read.
#[derive(Default)]
struct Given {
    name: Option<LitStr>,
    output: Option<Type>,
    creates: bool,
    /// Where the `validate` is.
    validate: Option<Span>,
}

/// The impls for `input`, and what is wrong with it.
pub(crate) fn expand(kind: Kind, input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let noun = kind.noun();
    no_generics(&input.generics, &format!("a {noun}"), &mut errors);
    let given = match only(&input.attrs, noun, &mut errors) {
        Some(attribute) => read(kind, attribute, &mut errors),
        None => {
            errors.at(
                &input.ident,
                format!("a {noun} has a name and an output: write `{}`", kind.example()),
            );
            Given::default()
        }
    };
    let Data::Struct(data) = &input.data else {
        errors.at(&input.ident, format!("a {noun} is a struct: one for each thing to ask"));
        return errors.into_tokens();
    };
    let key = read_key(&data.fields, &mut errors);
    let impls = given.output.as_ref().filter(|_| input.generics.params.is_empty()).map(|output| {
        let message = implement(kind, &input.ident, output, &given);
        let targeted = key.map(|(member, ty)| implement_targeted(&input.ident, &member, ty));
        quote!(#message #targeted)
    });
    let errors = errors.into_tokens();
    quote!(#errors #impls)
}

impl Kind {
    /// The name of the attribute, and the word in messages.
    fn noun(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Query => "query",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Command => "#[command(name = \"order.pay\", output = OrderView)]",
            Self::Query => "#[query(name = \"order.get\", output = OrderView)]",
        }
    }

    fn arguments(self) -> &'static [Argument] {
        const NAME: Argument = Argument::required("name", "name = \"order.pay\"");
        const OUTPUT: Argument = Argument::required("output", "output = OrderView");
        const COMMAND: [Argument; 4] =
            [NAME, OUTPUT, Argument::optional("creates"), Argument::optional("validate")];
        const QUERY: [Argument; 2] = [NAME, OUTPUT];
        match self {
            Self::Command => &COMMAND,
            Self::Query => &QUERY,
        }
    }
}

fn read(kind: Kind, attribute: &Attribute, errors: &mut Errors) -> Given {
    let mut given = Given::default();
    read_arguments(attribute, kind.arguments(), errors, |argument, meta, errors| {
        match argument {
            "name" => given.name = Some(name(meta, Alphabet::Dotted, errors)?),
            "output" => given.output = Some(meta.value()?.parse()?),
            "creates" => given.creates = true,
            _ => given.validate = Some(meta.path.span()),
        }
        Ok(())
    });
    given
}

/// The field marked `#[key]`.
fn read_key<'a>(fields: &'a Fields, errors: &mut Errors) -> Option<(Member, &'a Type)> {
    let mut key = None;
    for (member, field) in fields.members().zip(fields) {
        let Some(attribute) = only(&field.attrs, "key", errors) else { continue };
        if attribute.meta.require_path_only().is_err() {
            errors.at(attribute, "write `#[key]`: it takes no arguments");
        }
        match key {
            None => key = Some((member, &field.ty)),
            Some(_) => errors.at(attribute, "a message is about one aggregate: mark one field"),
        }
    }
    key
}

fn implement(kind: Kind, ident: &Ident, output: &Type, given: &Given) -> TokenStream {
    let derived = match kind {
        Kind::Command => format_ident!("Command"),
        Kind::Query => format_ident!("Query"),
    };
    let name = given.name.clone().unwrap_or_else(|| LitStr::new("", ident.span()));
    let creates = given.creates.then(|| {
        quote!(
            const CREATES: bool = true;
        )
    });
    let validate = given.validate.map(|at| {
        let problems = quote_spanned!(at=> <Self as ::catga::Validate>::problems);
        quote! {
            fn validate(&self) -> ::core::result::Result<(), ::std::vec::Vec<::catga::FieldError>> {
                let problems = #problems(self);
                if problems.is_empty() {
                    ::core::result::Result::Ok(())
                } else {
                    ::core::result::Result::Err(problems)
                }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl ::catga::#derived for #ident {
            const NAME: &'static str = #name;
            #creates
            type Output = #output;
            #validate
        }
    }
}

fn implement_targeted(ident: &Ident, member: &Member, ty: &Type) -> TokenStream {
    let as_str = quote_spanned!(ty.span()=> <#ty as ::core::convert::AsRef<str>>::as_ref);
    quote! {
        #[automatically_derived]
        impl ::catga::handler::Targeted for #ident {
            fn stream(
                &self,
                aggregate: &str,
            ) -> ::core::result::Result<::catga::log::StreamId, ::catga::log::InvalidStreamId> {
                ::catga::log::StreamId::new(aggregate, #as_str(&self.#member))
            }
        }
    }
}
