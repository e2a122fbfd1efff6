//! `#[derive(Command)]` and `#[derive(Query)]`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Fields, Ident, LitStr, Member, Meta, Token, Type, ext::IdentExt,
    punctuated::Punctuated, spanned::Spanned,
};

use crate::{
    args::{Alphabet, Argument, Errors, default_name, name, no_generics, only, read_arguments},
    root::{CRATE, Root},
    serde_attributes::check_command_field,
};

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
    /// Where the `validate` is.
    validate: Option<Span>,
    root: Root,
}

/// A field marked `#[key]`.
struct Key<'a> {
    member: Member,
    ty: &'a Type,
    /// The aggregate in `#[key(Customer)]`; `None` for the one that the message is about.
    aggregate: Option<Type>,
}

/// serde can't tell a set from a list, whose order means something.
fn no_hash_set(fields: &Fields, errors: &mut Errors) {
    for field in fields {
        if mentions(field.ty.to_token_stream(), "HashSet") {
            let message = "a `HashSet` has another order each time, so that a command which is sent again would not be \
                           known for the same: use a `BTreeSet`";
            errors.at(&field.ty, message);
        }
    }
}

fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(group.stream(), name),
        token => token.to_string() == name,
    })
}

/// The impls for `input`, and what is wrong with it.
pub(crate) fn expand(kind: Kind, input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let noun = kind.noun();
    no_generics(&input.generics, &format!("a {noun}"), &mut errors);
    let attribute = only(&input.attrs, noun, &mut errors);
    let given = attribute.map(|attribute| read(kind, attribute, &mut errors)).unwrap_or_default();
    let keys = match &input.data {
        Data::Struct(data) => {
            if let Kind::Command = kind {
                no_hash_set(&data.fields, &mut errors);
                data.fields.iter().for_each(|field| check_command_field(field, &mut errors));
            }
            read_keys(&data.fields, &mut errors)
        }
        _ => {
            errors.at(&input.ident, format!("a {noun} is a struct: one for each thing to ask"));
            Vec::new()
        }
    };
    let impls = input.generics.params.is_empty().then(|| {
        let message = implement(kind, &input.ident, &given, &keys);
        let targeted = (!keys.is_empty()).then(|| implement_targeted(&input.ident, &keys));
        given.root.apply(quote!(#message #targeted))
    });
    let errors = errors.into_tokens();
    quote!(#errors #impls)
}

impl Kind {
    /// The name of the attribute, and the word in messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Query => "query",
        }
    }

    fn arguments(self) -> &'static [Argument] {
        const NAME: Argument = Argument::optional("name");
        const COMMAND: [Argument; 3] = [NAME, Argument::optional("validate"), CRATE];
        const QUERY: [Argument; 2] = [NAME, CRATE];
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
            "crate" => given.root.read(meta)?,
            _ => given.validate = Some(meta.path.span()),
        }
        Ok(())
    });
    given
}

/// The fields marked `#[key]`.
fn read_keys<'a>(fields: &'a Fields, errors: &mut Errors) -> Vec<Key<'a>> {
    let mut keys: Vec<Key<'a>> = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("key")) {
            let mut add = |aggregate: Option<Type>| {
                let shown = |aggregate: &Option<Type>| aggregate.to_token_stream().to_string();
                if keys.iter().any(|key| shown(&key.aggregate) == shown(&aggregate)) {
                    let message = match &aggregate {
                        None => {
                            "a message is about one aggregate: mark one field, and one with \
                                 another aggregate's key as `#[key(Customer)]`"
                        }
                        Some(_) => "there is a key for this aggregate already",
                    };
                    errors.at(attribute, message);
                }
                keys.push(Key { member: member.clone(), ty: &field.ty, aggregate });
            };
            match &attribute.meta {
                Meta::Path(_) => add(None),
                Meta::List(list) => {
                    let parser = Punctuated::<Type, Token![,]>::parse_terminated;
                    match list.parse_args_with(parser) {
                        Ok(aggregates) => aggregates.into_iter().for_each(|ty| add(Some(ty))),
                        Err(error) => errors.add(error),
                    }
                }
                Meta::NameValue(_) => {
                    errors.at(
                        attribute,
                        "write `#[key]`, or `#[key(Customer)]` for the key of another aggregate",
                    );
                }
            }
        }
    }
    keys
}

fn implement(kind: Kind, ident: &Ident, given: &Given, keys: &[Key<'_>]) -> TokenStream {
    let derived = match kind {
        Kind::Command => format_ident!("Command"),
        Kind::Query => format_ident!("Query"),
    };
    let name = given.name.clone().unwrap_or_else(|| default_name(ident));
    let key = keys.iter().find(|key| key.aggregate.is_none());
    let key = key.and_then(|key| match &key.member {
        Member::Named(field) => Some(field.unraw().to_string()),
        Member::Unnamed(_) => None,
    });
    let key = key.map(|field| {
        quote!(
            const KEY: ::core::option::Option<&'static str> = ::core::option::Option::Some(#field);
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
            #key
            #validate
        }
    }
}

fn implement_targeted(ident: &Ident, keys: &[Key<'_>]) -> TokenStream {
    let name = |aggregate: &Type| quote_spanned!(aggregate.span()=> <#aggregate as ::catga::Aggregate>::NAME);
    let listed = keys.iter().map(|key| {
        let field = match &key.member {
            Member::Named(field) => field.unraw().to_string(),
            Member::Unnamed(_) => "key".to_owned(),
        };
        let aggregate = match &key.aggregate {
            Some(aggregate) => {
                let name = name(aggregate);
                quote!(::core::option::Option::Some(#name))
            }
            None => quote!(::core::option::Option::None),
        };
        quote!(::catga::handler::KeyField { field: #field, aggregate: #aggregate })
    });
    let stream = |key: &Key<'_>| {
        let Key { member, ty, .. } = key;
        let stream_by = quote_spanned!(ty.span()=> ::catga::__private::stream_by::<#ty>);
        quote!(#stream_by(aggregate, &self.#member))
    };
    let others = keys.iter().filter_map(|key| {
        let (name, stream) = (name(key.aggregate.as_ref()?), stream(key));
        Some(quote!(if aggregate == #name { return #stream; }))
    });
    // Without a key of its own, the message is about none but the aggregates that it names.
    let own = keys
        .iter()
        .find(|key| key.aggregate.is_none())
        .map_or_else(|| quote!(::catga::__private::no_key()), stream);
    quote! {
        #[automatically_derived]
        impl ::catga::handler::Targeted for #ident {
            const KEYS: &'static [::catga::handler::KeyField] = &[#(#listed),*];

            fn stream(
                &self,
                aggregate: &str,
            ) -> ::core::result::Result<::catga::log::StreamId, ::catga::log::InvalidStreamId> {
                #(#others)*
                #own
            }
        }
    }
}
