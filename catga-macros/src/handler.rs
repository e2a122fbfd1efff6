//! A handler as the user wrote it: the function, read and checked.
//!
//! What can be said about a handler without knowing its types is said here, with the fix. What depends on
//! types is left to the traits of catga and their own messages.

use proc_macro2::{Span, TokenStream};
use syn::{
    Attribute, Error, FnArg, Ident, Item, LitStr, Result, ReturnType, Safety, Signature, Type,
    parse_quote,
};

use crate::args::{
    Alphabet, Argument, Errors, cfgs, doc_comment, name, no_generics, read_arguments, shown,
};

/// A function that can be registered as a handler.
pub(crate) struct Handler {
    pub(crate) kind: Kind,
    pub(crate) cfgs: Vec<Attribute>,
    /// The doc comment.
    pub(crate) doc: String,
    pub(crate) function: Ident,
    pub(crate) is_async: bool,
    /// The first parameter's type.
    pub(crate) message: Type,
    /// The other parameters, in order.
    pub(crate) params: Vec<Param>,
    /// The type behind `->`.
    pub(crate) answer: Option<Type>,
}

/// What the handler handles.
pub(crate) enum Kind {
    Command,
    Query,
    /// With the handler's name. Commands and queries have theirs on the message.
    Event(LitStr),
}

/// A parameter after the message: `&T` or `&mut T`.
pub(crate) struct Param {
    /// Its place among them.
    pub(crate) index: usize,
    /// The `T`.
    pub(crate) ty: Type,
    pub(crate) is_mut: bool,
}

impl Handler {
    /// The handler in `item`.
    ///
    /// # Errors
    /// All that is wrong with it, after the `errors` so far.
    pub(crate) fn read(kind: Kind, item: TokenStream, mut errors: Errors) -> Result<Self> {
        let Ok(Item::Fn(item)) = syn::parse2(item) else {
            return errors
                .and(Error::new(Span::call_site(), "this attribute goes above a function"));
        };
        let signature = item.sig;
        check_modifiers(&kind, &signature, &mut errors);
        let types = parameter_types(&kind, &signature, &mut errors);
        let Some((message, others)) = types.split_first() else {
            let message = format!("{} takes its message first: `{}`", kind.noun(), kind.example());
            return errors.and(Error::new(signature.ident.span(), message));
        };
        check_message(message, &mut errors);
        let params = others.iter().enumerate();
        let params: Vec<_> =
            params.filter_map(|(index, ty)| Param::read(&kind, index, ty, &mut errors)).collect();
        check_aggregates(&params, &mut errors);
        let answer = match signature.output {
            ReturnType::Type(_, answer) => Some(*answer),
            ReturnType::Default => None,
        };
        check_answer(&kind, &signature.ident, answer.as_ref(), &mut errors);
        errors.or(Self {
            kind,
            cfgs: cfgs(&item.attrs),
            doc: doc_comment(&item.attrs),
            is_async: signature.asyncness.is_some(),
            function: signature.ident,
            message: message.clone(),
            params,
            answer,
        })
    }
}

impl Kind {
    /// An event handler, by the arguments of its attribute.
    pub(crate) fn event(tokens: &TokenStream, errors: &mut Errors) -> Self {
        const ARGUMENTS: [Argument; 1] =
            [Argument::required("name", "#[event_handler(name = \"receipts\")]")];
        let mut given = LitStr::new("", Span::call_site());
        let attribute = parse_quote!(#[event_handler(#tokens)]);
        read_arguments(&attribute, &ARGUMENTS, errors, |_, meta, errors| {
            given = name(meta, Alphabet::Lowercase, errors)?;
            Ok(())
        });
        Self::Event(given)
    }

    /// The handler with its article, for messages.
    fn noun(&self) -> &'static str {
        match self {
            Self::Command => "a command handler",
            Self::Query => "a query handler",
            Self::Event(_) => "an event handler",
        }
    }

    /// The first parameter, as an example for messages.
    fn example(&self) -> &'static str {
        match self {
            Self::Command => "command: PayOrder",
            Self::Query => "query: GetOrder",
            Self::Event(_) => "paid: Recorded<OrderPaid>",
        }
    }
}

fn check_modifiers(kind: &Kind, signature: &Signature, errors: &mut Errors) {
    let noun = kind.noun();
    no_generics(&signature.generics, noun, errors);
    if let Safety::Unsafe(token) = signature.safety {
        errors.at(token, format!("{noun} is called by the runtime, so it can't be `unsafe`"));
    }
    if let Some(abi) = &signature.abi {
        errors.at(abi, format!("{noun} is an ordinary Rust function: leave the ABI out"));
    }
    if let Some(variadic) = &signature.variadic {
        errors.at(variadic, format!("{noun} has a fixed list of parameters"));
    }
}

fn parameter_types(kind: &Kind, signature: &Signature, errors: &mut Errors) -> Vec<Type> {
    let mut types = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Typed(input) => types.push(plain(&input.ty).clone()),
            FnArg::Receiver(receiver) => {
                let message =
                    format!("{} is a free function: take what it needs as `&T`", kind.noun());
                errors.at(receiver, message);
            }
        }
    }
    types
}

fn check_message(message: &Type, errors: &mut Errors) {
    match message {
        Type::Reference(reference) => {
            let owned = shown(&reference.elem);
            errors.at(message, format!("the message comes first, and by value: write `{owned}`"));
        }
        Type::ImplTrait(_) => errors.at(message, "a handler is for one type of message: name it"),
        _ => {}
    }
}

fn check_aggregates(params: &[Param], errors: &mut Errors) {
    if let Some(second) = params.iter().filter(|param| param.is_mut).nth(1) {
        let message =
            "one command changes one aggregate: let an event handler send a command to this one";
        errors.at(&second.ty, message);
    }
}

impl Param {
    fn read(kind: &Kind, index: usize, ty: &Type, errors: &mut Errors) -> Option<Self> {
        let Type::Reference(reference) = ty else {
            let written = shown(ty);
            errors
                .at(ty, format!("parameters after the message are references: write `&{written}`"));
            return None;
        };
        let target = plain(&reference.elem);
        let written = shown(target);
        if let Some(lifetime) = &reference.lifetime {
            errors.at(lifetime, format!("the parameter is lent for one call: write `&{written}`"));
        }
        if let Type::ImplTrait(_) | Type::TraitObject(_) = target {
            let message = "a parameter is found by its type, so name one: a struct that holds the \
                           `Arc<dyn ..>`, with `impl catga::Resource`";
            errors.at(target, message);
        }
        let is_mut = reference.mutability.is_some();
        match kind {
            Kind::Query if is_mut => {
                errors.at(ty, format!("a query changes nothing: write `&{written}`"));
            }
            Kind::Event(_) if is_mut => {
                let message = "an event handler changes an aggregate by sending a command";
                errors.at(ty, format!("{message}: write `&{written}`"));
            }
            Kind::Command | Kind::Query | Kind::Event(_) => {}
        }
        Some(Self { index, ty: target.clone(), is_mut })
    }
}

fn check_answer(kind: &Kind, function: &Ident, answer: Option<&Type>, errors: &mut Errors) {
    match (answer, kind) {
        (Some(Type::ImplTrait(_)), _) => {
            errors.at(
                answer,
                "a handler names what it returns: write `async fn` and `-> Result<Output, E>`",
            );
        }
        (None, Kind::Query) => {
            errors.at(function, "a query is answered: write `-> Result<Output, E>`");
        }
        _ => {}
    }
}

/// `ty` without the groups that a `macro_rules` puts around it.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        _ => ty,
    }
}
