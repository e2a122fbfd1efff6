//! Every example runs to its end, in a process of its own: what it says is asserted in its `main`. And every name of the
//! prelude has an example in its docs.

use std::{collections::BTreeSet, path::Path, process::Command};

use syn::{Attribute, Expr, ExprLit, Item, ItemFn, Lit, Meta, UseTree, Visibility};

/// Runs the example that was built beside this test, as `cargo test` and `cargo nextest run` do for a whole package.
fn run(name: &str) {
    let test = std::env::current_exe().unwrap();
    let profile =
        test.ancestors().nth(2).expect("a test is in `deps` of the folder of its profile");
    let example = profile.join("examples").join(name);
    let output = Command::new(&example).output().unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo build -p catga --examples` builds it", example.display())
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} ended with {}:\n{errors}", output.status);
}

macro_rules! examples {
    ($($name:ident),+ $(,)?) => {
        const ALL: &[&str] = &[$(stringify!($name)),+];

        $(#[test]
        fn $name() {
            run(stringify!($name));
        })+
    };
}

examples!(
    command,
    custom_store,
    effect_with_retry,
    order,
    query_and_projection,
    snapshots,
    state,
    subscribe,
    testing,
    upcasting,
);

/// The sources of the examples, by name.
fn sources() -> impl Iterator<Item = (String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    })
}

#[test]
fn every_example_is_run_and_says_how() {
    let names: BTreeSet<_> = sources().map(|(name, _)| name).collect();
    assert_eq!(names, ALL.iter().map(|name| (*name).to_owned()).collect());
    for (name, source) in sources() {
        let command = format!("`cargo run -p catga --example {name}`");
        assert!(source.starts_with("//! ") && source.contains(&command), "{name}: {command}");
        assert!(source.lines().count() <= 90, "{name} is longer than a screen or two");
    }
}

#[test]
fn every_example_is_on_the_front_page() {
    let page = include_str!("../src/lib.rs");
    for name in ALL {
        assert!(page.contains(&format!("//! - `{name}`: ")), "{name}");
    }
}

/// The names in `pub mod prelude`.
fn prelude() -> BTreeSet<String> {
    fn names(tree: &UseTree, into: &mut BTreeSet<String>) {
        match tree {
            UseTree::Path(path) => names(&path.tree, into),
            UseTree::Group(group) => group.items.iter().for_each(|tree| names(tree, into)),
            UseTree::Name(name) => _ = into.insert(name.ident.to_string()),
            UseTree::Rename(_) | UseTree::Glob(_) => panic!("the prelude has names, one by one"),
        }
    }
    let file = syn::parse_file(include_str!("../src/lib.rs")).unwrap();
    let mut found = BTreeSet::new();
    for item in file.items {
        let Item::Mod(module) = item else { continue };
        for item in module
            .content
            .filter(|_| module.ident == "prelude")
            .into_iter()
            .flat_map(|(_, items)| items)
        {
            let Item::Use(uses) = item else { panic!("the prelude has names of others") };
            names(&uses.tree, &mut found);
        }
    }
    found
}

/// The public types, traits and macros in a file, each with its docs.
fn documented(file: &Path) -> Vec<(String, String)> {
    let file = syn::parse_file(&std::fs::read_to_string(file).unwrap()).unwrap();
    let named = file.items.into_iter().filter_map(|item| match item {
        Item::Struct(item) => Some((item.ident.to_string(), item.vis, item.attrs)),
        Item::Enum(item) => Some((item.ident.to_string(), item.vis, item.attrs)),
        Item::Trait(item) => Some((item.ident.to_string(), item.vis, item.attrs)),
        Item::Type(item) => Some((item.ident.to_string(), item.vis, item.attrs)),
        Item::Fn(item) => Some((macro_name(&item)?, item.vis, item.attrs)),
        _ => None,
    });
    named
        .filter(|(_, visibility, _)| matches!(visibility, Visibility::Public(_)))
        .map(|(name, _, attributes)| (name, attributes.iter().filter_map(doc_line).collect()))
        .collect()
}

/// The name of the macro that a function is.
fn macro_name(function: &ItemFn) -> Option<String> {
    function.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::Path(path) if path.is_ident("proc_macro_attribute") => {
            Some(function.sig.ident.to_string())
        }
        Meta::List(list) if list.path.is_ident("proc_macro_derive") => {
            list.tokens.clone().into_iter().next().map(|name| name.to_string())
        }
        _ => None,
    })
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value else { return None };
    pair.path.is_ident("doc").then(|| line.value() + "\n")
}

/// Whether the docs have a block that `cargo test` compiles.
fn has_example(docs: &str) -> bool {
    let fences = docs.lines().filter_map(|line| line.trim().strip_prefix("```"));
    fences.step_by(2).any(|language| matches!(language, "" | "standalone_crate"))
}

#[test]
fn every_name_of_the_prelude_has_an_example_that_compiles() {
    let catga = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![catga.join("../catga-macros/src/lib.rs")];
    let mut folders = vec![catga.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let all: Vec<_> = files.iter().flat_map(|file| documented(file)).collect();
    let names = prelude();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let mut defined = all.iter().filter(|(other, _)| *other == name).peekable();
        assert!(defined.peek().is_some(), "{name} is not found");
        assert!(defined.all(|(_, docs)| has_example(docs)), "{name} has no example");
    }
}
