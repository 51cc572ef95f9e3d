//! The table of halts, as operators read it.

use wire::halt::HaltReason;

#[test]
fn the_operators_page_has_a_heading_for_every_reason_and_says_whether_it_is_kept() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubleshoot.md")).unwrap();
    for reason in HaltReason::ALL {
        let heading =
            format!("\n### {}\n\n{}", reason.word(), if reason.is_kept() { "**Kept.**" } else { "*Not kept" });
        assert!(page.contains(&heading), "docs/troubleshoot.md lacks {heading:?}");
    }
}
