//! The structure of the crate: which layer may import which, and that no files import one another in a circle.
//!
//! The layers are those drawn in ARCHITECTURE.md, from the bottom to the top.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// A path of modules below the crate's root, as `["store", "nats"]`.
type Module = Vec<String>;

/// One source file, as a module.
#[derive(Debug, Default)]
struct Source {
    /// Full paths that it names, in a `use` or elsewhere, outside tests.
    imports: Vec<Module>,
    /// Full paths that its tests name.
    test_imports: Vec<Module>,
    /// What it exports from files below itself: the name, and where that is defined.
    exports: BTreeMap<String, Module>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The lines of the drawing: each layer with the layers that it may import.
fn drawing() -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs::read_to_string(path).unwrap();
    let block = text.split("```layers\n").nth(1).expect("ARCHITECTURE.md draws the layers");
    let block = block.split("```").next().unwrap();
    let mut layers: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines().filter(|line| !line.starts_with(' ')) {
        let (left, may) = line.rsplit_once("  ").expect("the last column says what it may import");
        let below: Vec<_> = layers.iter().map(|(name, _)| name.clone()).collect();
        let may: Vec<_> = match may.trim() {
            "all above" => below.clone(),
            "–" => Vec::new(),
            names => names.split(' ').map(str::to_owned).collect(),
        };
        for name in &may {
            assert!(below.contains(name), "the drawing has an arrow up: {line}");
        }
        for name in left.split_whitespace().filter_map(|word| word.strip_suffix('/')) {
            layers.push((name.to_owned(), may.clone()));
        }
    }
    layers
}

fn modules() -> BTreeMap<Module, Source> {
    let mut modules = BTreeMap::new();
    visit(&root(), &Vec::new(), &mut modules);
    modules
}

fn visit(folder: &Path, module: &Module, modules: &mut BTreeMap<Module, Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let inner = |name: &str| [module.as_slice(), &[name.to_owned()]].concat();
        if path.is_dir() {
            visit(&path, &inner(&name), modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = if name == "mod" || name == "lib" { module.clone() } else { inner(&name) };
            let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            let source = modules.entry(module.clone()).or_default();
            collect(&file.items, &module, is_test_file(&path), source);
        }
    }
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn collect(items: &[Item], module: &Module, in_test: bool, source: &mut Source) {
    for item in items {
        match item {
            Item::Use(item) => {
                let mut paths = Vec::new();
                flatten(&item.tree, &mut Vec::new(), &mut paths);
                for path in paths {
                    let Some(path) = absolute(&path, module) else { continue };
                    if is_export(item, module, &path) {
                        source.exports.insert(path.last().unwrap().clone(), path);
                    } else if in_test || is_test(&item.attrs) {
                        source.test_imports.push(path);
                    } else {
                        source.imports.push(path);
                    }
                }
            }
            Item::Mod(item) => {
                if let Some((_, items)) = &item.content {
                    let module = [module.as_slice(), &[item.ident.to_string()]].concat();
                    collect(items, &module, in_test || is_test(&item.attrs), source);
                }
            }
            item => {
                let mut paths = Vec::new();
                inline_paths(item.to_token_stream(), &mut paths);
                let paths = paths.iter().filter_map(|path| absolute(path, module));
                if in_test || is_test(attributes(item)) {
                    source.test_imports.extend(paths);
                } else {
                    source.imports.extend(paths);
                }
            }
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        _ => &[],
    }
}

/// The paths in code that begin with `crate` or `super`, also inside macros.
fn inline_paths(code: TokenStream, paths: &mut Vec<Module>) {
    let mut tokens = code.into_iter().peekable();
    let mut before = None;
    while let Some(token) = tokens.next() {
        if let TokenTree::Group(group) = &token {
            inline_paths(group.stream(), paths);
        }
        // `$crate` is the crate of who calls the macro, and `in crate::..` is for whom something is visible.
        let is_start = ["crate", "super"].contains(&&*token.to_string())
            && !before.is_some_and(|before: String| ["$", "in"].contains(&&*before));
        before = Some(token.to_string());
        if !is_start {
            continue;
        }
        let mut path = vec![token.to_string()];
        while tokens.next_if(|next| next.to_string() == ":").is_some() {
            match tokens.next_if(|next| next.to_string() == ":").and_then(|_| tokens.next()) {
                Some(TokenTree::Ident(name)) => path.push(name.to_string()),
                Some(TokenTree::Group(group)) => inline_paths(group.stream(), paths),
                _ => break,
            }
        }
        if path.len() > 1 {
            paths.push(path);
        }
    }
}

#[test]
fn paths_are_seen_wherever_they_stand() {
    let code = "fn f(a: crate::store::Append<super::Other>) -> Vec<Box<dyn crate::log::Clock>> {
        let (x, y): (u8, u8) = crate::read::at::<crate::model::Error>(self.x, Self::Y); vec![crate::react::run(x)]
        macro_rules! m { () => { $crate::runtime::start() } } pub(in crate::follow) struct S; pub(crate) struct T;
    }";
    let mut paths = Vec::new();
    inline_paths(code.parse().unwrap(), &mut paths);
    let paths: BTreeSet<_> = paths.iter().map(|path| path.join("::")).collect();
    let seen = [
        "crate::log::Clock",
        "crate::model::Error",
        "crate::react::run",
        "crate::read::at",
        "crate::store::Append",
        "super::Other",
    ];
    assert_eq!(paths, seen.map(str::to_owned).into());
}

/// Whether a module shows, with this `use`, a name of a file below it.
fn is_export(item: &ItemUse, module: &Module, path: &Module) -> bool {
    !matches!(item.vis, Visibility::Inherited) && path.starts_with(module)
}

fn flatten(tree: &UseTree, before: &mut Module, paths: &mut Vec<Module>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, paths);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, paths)),
        UseTree::Name(name) if name.ident == "self" => paths.push(before.clone()),
        UseTree::Name(name) => paths.push([before.as_slice(), &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => {
            paths.push([before.as_slice(), &[name.ident.to_string()]].concat());
        }
        UseTree::Glob(_) => paths.push([before.as_slice(), &["*".to_owned()]].concat()),
    }
}

/// The path from the crate's root; `None` when it leads into another crate.
fn absolute(path: &Module, module: &Module) -> Option<Module> {
    let mut at = match path[0].as_str() {
        "crate" | "catga" => Vec::new(),
        "self" => module.clone(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    for part in &path[1..] {
        if part == "super" { drop(at.pop()) } else { at.push(part.clone()) }
    }
    Some(at)
}

/// The file that an imported path is defined in.
fn file_of(path: &Module, modules: &BTreeMap<Module, Source>) -> Module {
    let mut at = Module::new();
    for part in path {
        let inner = [at.as_slice(), std::slice::from_ref(part)].concat();
        if modules.contains_key(&inner) {
            at = inner;
        } else if let Some(path) = modules[&at].exports.get(part) {
            return file_of(path, modules);
        } else {
            break;
        }
    }
    at
}

#[test]
fn imports_go_down_only() {
    let layers: BTreeMap<_, _> = drawing().into_iter().collect();
    let mut wrong = Vec::new();
    for (module, source) in modules() {
        let Some(layer) = module.first() else { continue };
        let may = layers.get(layer).unwrap_or_else(|| panic!("{layer} is not in the drawing"));
        let is_allowed = |target: &String| target == layer || may.contains(target);
        for path in &source.imports {
            if !is_allowed(&path[0]) {
                wrong.push(format!("{} imports {}", module.join("::"), path.join("::")));
            }
        }
        // Tests of a lower layer may use the commits and stores that are made for tests.
        for path in &source.test_imports {
            if !is_allowed(&path[0]) && path[0] != "testing" && path[0] != "conformance" {
                wrong.push(format!("a test in {} imports {}", module.join("::"), path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that run up:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_import_one_another_in_a_circle() {
    let modules = modules();
    let arrows: BTreeMap<Module, BTreeSet<Module>> = modules
        .iter()
        .map(|(module, source)| {
            let targets = source.imports.iter().map(|path| file_of(path, &modules));
            (module.clone(), targets.filter(|target| target != module).collect())
        })
        .collect();
    let reaches = |from: &Module, to: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            for next in &arrows[at] {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    };
    let circles: Vec<_> =
        modules.keys().filter(|module| reaches(module, module)).map(|m| m.join("::")).collect();
    assert!(circles.is_empty(), "files in a circle: {circles:#?}");
}
