//! Files of the page: the same for every process, inside the program.

/// Media type and contents of a file.
pub(super) fn named(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "style.css" => Some(("text/css; charset=utf-8", include_str!("style.css"))),
        "page.js" => Some(("text/javascript; charset=utf-8", include_str!("page.js"))),
        "icon.svg" => Some(("image/svg+xml", include_str!("icon.svg"))),
        _ => None,
    }
}
