//! Paths: axum's syntax in OpenAPI's.

/// A path as OpenAPI writes it, and the names in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) text: String,
    /// The names of its parameters, in order.
    pub(super) names: Vec<String>,
}

impl Path {
    /// Reads a path as axum takes it: `{id}` for one segment, `{*rest}` for what is left, `{{` and `}}` for braces.
    pub(super) fn read(path: &str) -> Self {
        let mut text = String::new();
        let mut names = Vec::new();
        let mut left = path;
        while let Some(at) = left.find(['{', '}']) {
            text.push_str(&left[..at]);
            left = &left[at..];
            if let Some(behind) = left.strip_prefix("{{") {
                text.push_str("%7B");
                left = behind;
            } else if let Some(behind) = left.strip_prefix("}}") {
                text.push_str("%7D");
                left = behind;
            } else if let Some((name, behind)) =
                left.strip_prefix('{').and_then(|left| left.split_once('}'))
            {
                // OpenAPI has nothing for a name over several segments.
                let name = name.strip_prefix('*').unwrap_or(name);
                text.push_str(&format!("{{{name}}}"));
                names.push(name.to_owned());
                left = behind;
            } else {
                // axum refuses such a path; the document shows it as it is.
                break;
            }
        }
        text.push_str(left);
        Self { text, names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_parameters_and_has_no_other_braces() {
        for (axum, text, names) in [
            ("/", "/", &[] as &[&str]),
            ("/orders/{id}/items/{item}", "/orders/{id}/items/{item}", &["id", "item"]),
            ("/files/{*path}", "/files/{path}", &["path"]),
            ("/{{literal}}/{id}", "/%7Bliteral%7D/{id}", &["id"]),
        ] {
            let names = names.iter().map(ToString::to_string).collect();
            assert_eq!(Path::read(axum), Path { text: text.into(), names });
        }
    }
}
