//! Halt reasons in the operators' page.

use wire::halt::HaltReason;

#[test]
fn the_operators_page_has_a_heading_for_every_reason() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubleshoot.md")).unwrap();
    for reason in HaltReason::ALL {
        let heading =
            format!("\n### {}\n\n{}", reason.word(), if reason.is_kept() { "**Kept.**" } else { "*Not kept" });
        assert!(page.contains(&heading), "docs/troubleshoot.md lacks {heading:?}");
    }
}
