//! What a client prefers, by `Accept` ([RFC 9110, 12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)).

use axum::http::{HeaderMap, header};

/// Whether HTML is preferred to JSON, as browsers do.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT).iter().filter_map(|list| list.to_str().ok());
    let ranges: Vec<_> = lists.flat_map(|list| list.split(',')).filter_map(range).collect();
    quality(&ranges, "text/html") > quality(&ranges, "application/json")
}

/// A range of media types, in lower case, with how much it is wanted, in thousandths.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let types = parts.next()?.to_ascii_lowercase();
    let mut qualities = parts.filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
    });
    // What can't be understood is not wanted.
    Some((types, qualities.next().unwrap_or(Some(1000)).unwrap_or(0)))
}

/// `0` to `1`, with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    let whole = matches!(whole, "0" | "1").then(|| whole.parse::<u16>().ok())??;
    let quality = whole * 1000 + format!("{decimals:0<3}").parse::<u16>().ok()?;
    (is_plain && quality <= 1000).then_some(quality)
}

/// How much `kind` is wanted: the range that says it most exactly counts.
fn quality(ranges: &[(String, u16)], kind: &str) -> u16 {
    let any_of = kind.split_once('/').map_or(String::new(), |(main, _)| format!("{main}/*"));
    let found = [kind, &any_of, "*/*"].into_iter().find_map(|wanted| {
        let matching = ranges.iter().filter(|(types, _)| types == wanted);
        matching.map(|(_, quality)| *quality).max()
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_for_who_prefers_it() {
        let prefers = |accepts: &[&'static str]| {
            let fields = accepts.iter().map(|accept| (header::ACCEPT, accept.parse().unwrap()));
            prefers_html(&fields.collect())
        };
        for accept in [
            "text/html",
            "Text/HTML; charset=utf-8",
            "text/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json;q=0.2, text/html",
            "application/json;q=0.2, text/html;q=0.201",
            "*/*, application/json;q=0",
        ] {
            assert!(prefers(&[accept]), "{accept}");
        }
        for accept in [
            "application/json",
            "*/*",
            "",
            ",",
            "application/json, text/html",
            "application/json, text/html;q=0.1",
            "text/html;q=0, application/json",
            "text/html;q=0",
            "text/html;q=2, application/json",
            "text/html;level=1;q=0.1, */*;q=0.5",
            "application/xml, text/plain",
        ] {
            assert!(!prefers(&[accept]), "{accept}");
        }
        assert!(!prefers(&[]));
        assert!(prefers(&["application/json;q=0.5", "text/html"]), "two fields are one list");
    }
}
