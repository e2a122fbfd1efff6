//! A handler as the user wrote it: the function, read and checked.
//!
//! What can be said about a handler without knowing its types is said here, with the fix. What depends on
//! types is left to the traits of catga and their own messages.

use proc_macro2::{Span, TokenStream};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, Item, LitStr, Path, PathArguments,
    PathSegment, Result, ReturnType, Safety, Signature, Type, TypeParamBound, parse_quote,
};

use crate::{
    args::{
        Alphabet, Argument, Errors, cfgs, doc_comment, name, no_generics, read_arguments, shown,
    },
    root::{CRATE, Root},
};

/// A function that can be registered as a handler.
pub(crate) struct Handler {
    pub(crate) kind: Kind,
    pub(crate) cfgs: Vec<Attribute>,
    /// The doc comment.
    pub(crate) doc: String,
    pub(crate) function: Ident,
    pub(crate) is_async: bool,
    /// Whether it takes `self`, so that it is in an `impl`.
    pub(crate) is_method: bool,
    /// The first parameter's type.
    pub(crate) message: Type,
    /// The other parameters, in order.
    pub(crate) params: Vec<Param>,
    pub(crate) answer: Answer,
}

/// What the function returns.
pub(crate) enum Answer {
    /// Nothing.
    Nothing,
    /// The answer itself: it can't fail.
    Value(Type),
    /// A type that is called `Result`, or ends with it.
    Result(Type),
}

/// What the attribute says.
pub(crate) struct Attributed {
    pub(crate) kind: Kind,
    pub(crate) root: Root,
}

/// What the handler handles.
pub(crate) enum Kind {
    Command {
        /// Whether it makes a new stream.
        creates: bool,
    },
    Query,
    /// With the handler's name, and `blocking` if it is that. Commands and queries have their name on the message.
    Event(LitStr, Option<Path>),
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
    /// The handler in `item`, as far as it could be read; what is wrong with it goes to `errors`.
    ///
    /// # Errors
    /// When there is no message to be handled.
    pub(crate) fn read(kind: Kind, item: TokenStream, errors: &mut Errors) -> Result<Self> {
        let Ok(Item::Fn(item)) = syn::parse2(item) else {
            return Err(Error::new(Span::call_site(), "this attribute goes above a function"));
        };
        let signature = item.sig;
        check_modifiers(&kind, &signature, errors);
        let types = parameter_types(&kind, &signature, errors);
        let Some((message, others)) = types.split_first() else {
            let message = format!("{} takes its message first: `{}`", kind.noun(), kind.example());
            return Err(Error::new(signature.ident.span(), message));
        };
        let message = read_message(message, errors)?;
        let params = others.iter().enumerate();
        let params: Vec<_> =
            params.filter_map(|(index, ty)| Param::read(&kind, index, ty, errors)).collect();
        check_aggregates(&params, errors);
        let answer = Answer::read(&kind, &signature, errors);
        Ok(Self {
            kind,
            cfgs: cfgs(&item.attrs),
            doc: doc_comment(&item.attrs),
            is_async: signature.asyncness.is_some(),
            is_method: signature.receiver().is_some(),
            function: signature.ident,
            message,
            params,
            answer,
        })
    }
}

impl Attributed {
    /// `#[command_handler(..)]`.
    pub(crate) fn command(tokens: &TokenStream, errors: &mut Errors) -> Self {
        let (mut creates, mut root) = (false, Root::default());
        let arguments = [Argument::optional("creates"), CRATE];
        let attribute = parse_quote!(#[command_handler(#tokens)]);
        read_arguments(&attribute, &arguments, errors, |argument, meta, _| {
            match argument {
                "creates" => creates = true,
                _ => root.read(meta)?,
            }
            Ok(())
        });
        Self { kind: Kind::Command { creates }, root }
    }

    /// `#[query_handler(..)]`.
    pub(crate) fn query(tokens: &TokenStream, errors: &mut Errors) -> Self {
        let mut root = Root::default();
        let attribute = parse_quote!(#[query_handler(#tokens)]);
        read_arguments(&attribute, &[CRATE], errors, |_, meta, _| root.read(meta));
        Self { kind: Kind::Query, root }
    }

    /// `#[event_handler(..)]`.
    pub(crate) fn event(tokens: &TokenStream, errors: &mut Errors) -> Self {
        let arguments = [
            Argument::required("name", "#[event_handler(name = \"receipts\")]"),
            Argument::optional("blocking"),
            CRATE,
        ];
        let (mut given, mut blocking) = (LitStr::new("", Span::call_site()), None);
        let mut root = Root::default();
        let attribute = parse_quote!(#[event_handler(#tokens)]);
        read_arguments(&attribute, &arguments, errors, |argument, meta, errors| {
            match argument {
                "name" => given = name(meta, Alphabet::Lowercase, errors)?,
                "blocking" => blocking = Some(meta.path.clone()),
                _ => root.read(meta)?,
            }
            Ok(())
        });
        Self { kind: Kind::Event(given, blocking), root }
    }
}

impl Kind {
    /// The handler with its article, for messages.
    fn noun(&self) -> &'static str {
        match self {
            Self::Command { .. } => "a command handler",
            Self::Query => "a query handler",
            Self::Event(..) => "an event handler",
        }
    }

    /// The first parameter, as an example for messages.
    fn example(&self) -> &'static str {
        match self {
            Self::Command { .. } => "command: PayOrder",
            Self::Query => "query: GetOrder",
            Self::Event(..) => "paid: Recorded<OrderPaid>",
        }
    }
}

fn check_modifiers(kind: &Kind, signature: &Signature, errors: &mut Errors) {
    let noun = kind.noun();
    no_generics(&signature.generics, noun, errors);
    if let (Kind::Event(_, Some(blocking)), Some(_)) = (kind, &signature.asyncness) {
        let message = "what blocks is a plain `fn`: leave `async` out, or `blocking`";
        errors.at(blocking, message);
    }
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

/// The type of the message, which is by value.
fn read_message(message: &Type, errors: &mut Errors) -> Result<Type> {
    match message {
        Type::Reference(reference) => {
            let owned = shown(&reference.elem);
            errors.at(message, format!("the message comes first, and by value: write `{owned}`"));
            Ok(plain(&reference.elem).clone())
        }
        Type::ImplTrait(_) => {
            Err(Error::new_spanned(message, "a handler is for one type of message: name it"))
        }
        _ => Ok(message.clone()),
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
            let message = "a parameter is found by its type, so name one: `&State<Arc<dyn ..>>`, given to the builder \
                           with `.state(..)`";
            errors.at(target, message);
            return None;
        }
        let is_mut = reference.mutability.is_some();
        let last = last_segment(target).map(|segment| segment.ident.to_string());
        let is_of_aggregate = matches!(last.as_deref(), Some("Root" | "History"));
        match kind {
            Kind::Query if is_mut => {
                errors.at(ty, format!("a query changes nothing: write `&{written}`"));
            }
            Kind::Event(..) if is_of_aggregate || is_mut => {
                let message = "an event handler is about an event, not about an aggregate: take `&Catga`, and send a \
                               command or a query to the aggregate";
                errors.at(ty, message);
                return None;
            }
            _ => {}
        }
        if let Some("Arc" | "Box") = last.as_deref() {
            let message = format!(
                "write `&State<{written}>`, and give the builder the value with `.state(..)`"
            );
            errors.at(target, message);
            return None;
        }
        Some(Self { index, ty: target.clone(), is_mut })
    }
}

impl Answer {
    fn read(kind: &Kind, signature: &Signature, errors: &mut Errors) -> Self {
        let answer = match &signature.output {
            ReturnType::Type(_, answer) => plain(answer).clone(),
            ReturnType::Default => {
                if let Kind::Query = kind {
                    let message =
                        "a query is answered: write `-> Output`, or `-> Result<Output, E>`";
                    errors.at(&signature.ident, message);
                }
                return Self::Nothing;
            }
        };
        match &answer {
            Type::ImplTrait(_) => {
                let message = "a handler names what it returns: write `async fn` and `-> Output`, or `-> Result<Output, E>`";
                errors.at(&answer, message);
                return Self::Nothing;
            }
            Type::Tuple(tuple) if tuple.elems.is_empty() => return Self::Nothing,
            _ => {}
        }
        if last_segment(&answer).is_some_and(|last| last.ident.to_string().ends_with("Result")) {
            check_error(&answer, errors);
            let first = type_arguments(&answer).into_iter().next();
            if let (Kind::Event(..), Some(output)) = (kind, &first)
                && last_segment(&answer).is_some_and(|last| last.ident == "Result")
                && !matches!(output, Type::Tuple(tuple) if tuple.elems.is_empty())
            {
                errors.at(output, "an event handler answers nobody: write `Result<(), E>`");
            }
            return Self::Result(answer);
        }
        if let Kind::Event(..) = kind {
            let message = "an event handler answers nobody: it returns nothing, or `Result<(), E>`";
            errors.at(&answer, message);
            return Self::Nothing;
        }
        Self::Value(answer)
    }

    /// The type in `Result<T, ..>`, or of the value; as good as it can be told without the types.
    pub(crate) fn guess(&self) -> Option<Type> {
        match self {
            Self::Nothing => None,
            Self::Value(answer) => Some(answer.clone()),
            Self::Result(result) => type_arguments(result).into_iter().next(),
        }
    }
}

/// Reports a `Box<dyn Error>` that can't go to another thread.
fn check_error(result: &Type, errors: &mut Errors) {
    let arguments = type_arguments(result);
    let [_, boxed] = &arguments[..] else { return };
    if last_segment(boxed).is_none_or(|last| last.ident != "Box") {
        return;
    }
    let [Type::TraitObject(object)] = &type_arguments(boxed)[..] else { return };
    let names: Vec<_> = object
        .bounds
        .iter()
        .filter_map(|bound| match bound {
            TypeParamBound::Trait(bound) => Some(bound.path.segments.last()?.ident.to_string()),
            _ => None,
        })
        .collect();
    let has = |name: &str| names.iter().any(|bound| bound == name);
    if has("Error") && !(has("Send") && has("Sync")) {
        let message = "the error goes to another thread: write `catga::BoxError`, which is \
                       `Box<dyn Error + Send + Sync>`";
        errors.at(boxed, message);
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// The types in the `<..>` of `ty`.
pub(crate) fn type_arguments(ty: &Type) -> Vec<Type> {
    let Some(PathArguments::AngleBracketed(list)) = last_segment(ty).map(|last| &last.arguments)
    else {
        return Vec::new();
    };
    let ty = |argument: &GenericArgument| match argument {
        GenericArgument::Type(ty) => Some(plain(ty).clone()),
        _ => None,
    };
    list.args.iter().filter_map(ty).collect()
}

/// `ty` without the groups that a `macro_rules` puts around it.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        _ => ty,
    }
}
