//! Handlers as the code that the compiler gets.
//!
//! Spans decide where a user reads an error. What depends on a type has that type's span, what depends on the
//! whole function has the span of its name, and variables have the macro's own. What can fail on a type is said
//! in the same words wherever it is said: the compiler reports the same mistake at the same place once.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, Item, ItemFn, LitStr, Result, Stmt, Type, spanned::Spanned};

use crate::handler::{Answer, Handler, Kind, Param, type_arguments};

/// What stands in the catalogue for one item.
pub(crate) struct Registration<'a> {
    /// The variant of `catga::handler::Kind`.
    pub(crate) kind: &'static str,
    /// An expression for the name.
    pub(crate) name: TokenStream,
    /// The item within its module.
    pub(crate) item: String,
    /// Where the item is.
    pub(crate) at: Span,
    pub(crate) doc: &'a str,
    /// Calls on `setup`.
    pub(crate) setup: &'a [TokenStream],
}

/// The code beside the function of `handler`.
pub(crate) fn handler(handler: &Handler) -> TokenStream {
    let cfgs = &handler.cfgs;
    let code = match &handler.kind {
        Kind::Command { creates } => {
            message_handler(handler, "CommandHandler", &format_ident!("Command"), *creates)
        }
        Kind::Query => message_handler(handler, "QueryHandler", &format_ident!("Query"), false),
        Kind::Event(name, blocking) => event_handler(handler, name, blocking.is_some()),
    };
    // One item, which is gone when its attribute has become the code. Where the function is in an `impl` itself, the
    // compiler says at its name that this is no place for one, and drops it with the code.
    quote_spanned! {handler.function.span()=>
        #[::catga::__private::beside(#(#cfgs)* const _: () = { #code };)]
        impl Handler {}
    }
}

/// `item`, which is a method, with the [`stub`] in it: there is no other place for an impl.
pub(crate) fn with_stub(item: TokenStream, handler: &Handler) -> Result<TokenStream> {
    let mut function: ItemFn = syn::parse2(item)?;
    let stub = stub(handler);
    function.block.stmts.insert(0, Stmt::Item(Item::Verbatim(stub)));
    Ok(function.into_token_stream())
}

/// What stands for a handler that can't be generated: its message has one all the same, so that the compiler does not
/// say at every place where it is sent that it has none.
pub(crate) fn stub(handler: &Handler) -> TokenStream {
    if let Kind::Event(..) = handler.kind {
        return TokenStream::new();
    }
    let Handler { cfgs, message, answer, .. } = handler;
    let output = answer.guess().map_or_else(|| quote!(()), ToTokens::into_token_stream);
    quote! {
        #(#cfgs)*
        const _: () = {
            impl ::catga::handler::Handled for #message {
                type Output = #output;
                async fn handle<'c>(
                    self,
                    _: &'c ::catga::handler::Context<'c>,
                ) -> ::core::result::Result<Self::Output, ::catga::handler::Interrupt> {
                    ::core::unreachable!()
                }
            }
        };
    }
}

/// The catalogue entry of an item.
pub(crate) fn registration(registration: &Registration<'_>) -> TokenStream {
    let Registration { kind, name, item, at, doc, setup } = registration;
    let kind = format_ident!("{kind}");
    let argument = if setup.is_empty() { quote!(_) } else { local("setup").into_token_stream() };
    // `file!` and `line!` answer where their own tokens are from.
    let place = quote_spanned!(*at=> file: ::core::file!(), line: ::core::line!(),);
    quote! {
        ::catga::__private::inventory::submit! {
            ::catga::handler::Registration {
                kind: ::catga::handler::Kind::#kind,
                name: #name,
                item: ::core::concat!(::core::module_path!(), "::", #item),
                doc: #doc,
                #place
                setup: |#argument| { #(#setup;)* },
            }
        }
    }
}

/// A variable of the generated code, which hides none of the user's functions.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// `impl Handled for` the message, and the registration.
fn message_handler(
    handler: &Handler,
    kind: &'static str,
    message_trait: &Ident,
    creates: bool,
) -> TokenStream {
    let function = &handler.function;
    let message = &handler.message.to_token_stream();
    let at = handler.message.span();
    let [cx, outcome] = ["cx", "outcome"].map(local);
    let this = quote!(self);
    let output = output(handler);
    let extract = extract(handler, message, &quote!(&#this));
    let call = into_outcome(handler, &call(handler, &this));
    let finish = match handler.params.iter().find(|param| param.is_mut) {
        Some(param) => {
            let (held, provider) = (param.held(), param.provider(message));
            quote_spanned!(param.ty.span()=> #provider::commit(#held, #cx, #outcome).await)
        }
        None => quote!(#outcome.map_err(::catga::handler::Interrupt::from)),
    };
    // The span of the name is where the compiler says that the function's future is not `Send`.
    let handle = quote_spanned! {function.span()=>
        async fn handle<'c>(
            #this,
            #cx: &'c ::catga::handler::Context<'c>,
        ) -> ::core::result::Result<#output, ::catga::handler::Interrupt>
    };
    let check = match handler.answer.guess() {
        Some(answer) if matches!(handler.kind, Kind::Command { .. }) => {
            quote_spanned! {answer.span()=>
                {
                    #[allow(unused_imports)]
                    use ::catga::__private::IsNoResult as _;
                    let _ = ::catga::__private::IsResult::<#output>::stored;
                }
            }
        }
        _ => TokenStream::new(),
    };
    let body = quote! {
        #check
        #extract
        let #outcome: ::core::result::Result<#output, ::catga::Error> = #call;
        #finish
    };
    let creates = creates.then(|| {
        quote!(
            const CREATES: bool = true;
        )
    });
    // The span of the message is where the compiler says that it has a handler already.
    let handled = quote_spanned! {at=>
        impl ::catga::handler::Handled for #message {
            type Output = #output;
            #creates
            #handle { #body }
        }
    };
    let registration = registration(&Registration {
        kind,
        name: quote_spanned!(at=> <#message as ::catga::#message_trait>::NAME),
        item: function.to_string(),
        at: function.span(),
        doc: &handler.doc,
        setup: &setup_calls(handler, message),
    });
    let aliases = aliases(handler);
    let hidden_result = hidden_result(handler);
    quote!(#aliases #hidden_result #handled #registration)
}

/// The function that the runtime calls with each event, and the registration.
fn event_handler(handler: &Handler, name: &LitStr, is_blocking: bool) -> TokenStream {
    let Handler { message, function, .. } = handler;
    let at = message.span();
    let [cx, recorded, setup, result] = ["cx", "recorded", "setup", "result"].map(local);
    let event = quote_spanned!(at=> <#message as ::catga::handler::Delivered>::Event);
    let extract = extract(handler, &event, &quote!(&#recorded.event));
    let deliver =
        quote_spanned!(at=> <#message as ::catga::handler::Delivered>::deliver(#recorded));
    let mut call = call(handler, &deliver);
    if is_blocking {
        call = quote!(::catga::__private::blocking(|| #call).await);
    }
    let outcome = match &handler.answer {
        Answer::Result(answer) => {
            let alias = answer_alias(answer);
            quote_spanned!(alias.span()=> <#alias as ::catga::handler::IntoOutcome>::into_outcome(#call))
        }
        Answer::Nothing | Answer::Value(_) => ok(&call),
    };
    let body = quote! {
        #extract
        let #result: ::core::result::Result<(), ::catga::Error> = #outcome;
        #result.map_err(::catga::handler::Interrupt::from)
    };
    // The span of the name is where the compiler says that the function's future is not `Send`.
    let boxed = quote_spanned!(function.span()=> ::catga::__private::boxed(async move { #body }));
    let function_pointer = quote_spanned! {at=>
        fn call<'c>(
            #cx: &'c ::catga::handler::Context<'c>,
            #recorded: ::catga::Recorded<#event>,
        ) -> ::catga::store::BoxFuture<'c, ::core::result::Result<(), ::catga::handler::Interrupt>> {
            #boxed
        }
    };
    let mut setup_calls = setup_calls(handler, &event);
    setup_calls.push(quote_spanned!(at=> ::catga::__private::register_event_handler::<#message>(#setup, #name, #is_blocking, call)));
    let registration = registration(&Registration {
        kind: "EventHandler",
        name: name.to_token_stream(),
        item: function.to_string(),
        at: function.span(),
        doc: &handler.doc,
        setup: &setup_calls,
    });
    let aliases = aliases(handler);
    quote!(#aliases #function_pointer #registration)
}

/// Extracts every parameter. What is taken as `&mut` comes last, since it locks its stream.
fn extract(handler: &Handler, message: &TokenStream, by_ref: &TokenStream) -> TokenStream {
    let cx = local("cx");
    let (locking, shared): (Vec<_>, Vec<_>) = handler.params.iter().partition(|param| param.is_mut);
    // The compiler reports a parameter that can't be extracted where it first finds out. In these words and at
    // this place it says the same as in `setup`, so that the user reads it once.
    let checks = declare(handler, message);
    let extracts = shared.into_iter().chain(locking).map(|param| {
        let (held, provider) = (param.held(), param.provider(message));
        let at = param.ty.span();
        if param.is_mut {
            quote_spanned!(at=> let mut #held = #provider::extract_mut(#cx, #by_ref).await?;)
        } else {
            quote_spanned!(at=> let #held = #provider::extract(#cx, #by_ref).await?;)
        }
    });
    quote!(#(let _ = #checks;)* #(#extracts)*)
}

/// The functions that tell the builder what the parameters need.
fn declare(handler: &Handler, message: &TokenStream) -> Vec<TokenStream> {
    let declare = |param: &Param| {
        let provider = param.provider(message);
        quote_spanned!(param.ty.span()=> #provider::declare)
    };
    handler.params.iter().map(declare).collect()
}

/// The calls of [`declare`].
fn setup_calls(handler: &Handler, message: &TokenStream) -> Vec<TokenStream> {
    let setup = local("setup");
    declare(handler, message).iter().map(|declare| quote!(#declare(#setup))).collect()
}

/// Names for the types of the parameters: one token each, so that all errors about one are in one place.
fn aliases(handler: &Handler) -> TokenStream {
    let aliases = handler.params.iter().map(|param| {
        let (alias, ty) = (param.alias(), &param.ty);
        quote!(type #alias = #ty;)
    });
    let answer = match &handler.answer {
        Answer::Result(answer) => {
            let alias = answer_alias(answer);
            Some(quote!(type #alias = #answer;))
        }
        _ => None,
    };
    quote!(#(#aliases)* #answer)
}

/// Calls the function with `message` and what is held for the other parameters.
fn call(handler: &Handler, message: &TokenStream) -> TokenStream {
    let Handler { function, params, .. } = handler;
    let lent = params.iter().map(|param| {
        let held = param.held();
        if param.is_mut { quote!(&mut #held) } else { quote!(&#held) }
    });
    let awaited = handler.is_async.then(|| quote!(.await));
    quote!(#function(#message #(, #lent)*)#awaited)
}

/// The type of the answer.
fn output(handler: &Handler) -> TokenStream {
    match &handler.answer {
        Answer::Nothing => quote!(()),
        Answer::Value(answer) => answer.to_token_stream(),
        // Said without the trait where it can be, a wrong error is wrong in one place.
        Answer::Result(answer) if type_arguments(answer).len() == 2 => {
            type_arguments(answer)[0].to_token_stream()
        }
        Answer::Result(answer) => {
            let alias = answer_alias(answer);
            quote_spanned!(alias.span()=> <#alias as ::catga::handler::IntoOutcome>::Output)
        }
    }
}

/// What the function returned, as a `Result<Output, catga::Error>`.
fn into_outcome(handler: &Handler, call: &TokenStream) -> TokenStream {
    match &handler.answer {
        Answer::Nothing | Answer::Value(_) => ok(call),
        Answer::Result(answer) => {
            let alias = answer_alias(answer);
            quote_spanned!(alias.span()=> <#alias as ::catga::handler::IntoOutcome>::into_outcome(#call))
        }
    }
}

/// The name for the type of the answer, where its error is: that is what can be wrong with it.
fn answer_alias(answer: &Type) -> Ident {
    let at = type_arguments(answer).get(1).map_or_else(|| answer.span(), Spanned::span);
    Ident::new("__Answer", at)
}

fn ok(call: &TokenStream) -> TokenStream {
    quote!(::core::result::Result::<_, ::catga::Error>::Ok(#call))
}

/// Refuses an answer that is a `Result` by another name: its `Err` would be taken for an answer.
fn hidden_result(handler: &Handler) -> TokenStream {
    let Answer::Value(answer) = &handler.answer else { return TokenStream::new() };
    quote_spanned! {answer.span()=>
        const _: () = {
            #[allow(unused_imports)]
            use ::catga::__private::IsNoResult as _;
            ::core::assert!(
                !::catga::__private::IsResult::<#answer>::ANSWER,
                "a type that is a `Result` has a name that ends with `Result`, so that the handler's errors are told from its answers",
            );
        };
    }
}

impl Param {
    /// The trait that provides it to handlers of `message`, as a qualified path.
    fn provider(&self, message: &TokenStream) -> TokenStream {
        let alias = self.alias();
        let from = if self.is_mut { "FromContextMut" } else { "FromContext" };
        let from = format_ident!("{from}");
        quote_spanned!(self.ty.span()=> <#alias as ::catga::handler::#from<#message>>)
    }

    /// The name for its type.
    fn alias(&self) -> Ident {
        format_ident!("__Param{}", self.index, span = self.ty.span())
    }

    /// What is kept of it while the function runs.
    fn held(&self) -> Ident {
        local(&format!("held_{}", self.index))
    }
}
