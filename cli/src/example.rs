//! `causeway example`: prints a configuration to start from, with every setting explained.

use crate::role::Role;

pub(crate) fn print(role: Role) {
    let page = match role {
        Role::Sender => service::config::template(sender::config::EXAMPLE, sender::config::SECTIONS),
        Role::Receiver => service::config::template(receiver::config::EXAMPLE, receiver::config::SECTIONS),
    };
    print!("{page}");
}

#[cfg(test)]
mod tests {
    use kafka::properties::forbidden;
    use service::config::parse;

    #[test]
    fn the_printed_file_means_what_the_short_example_means() {
        let page = service::config::template(sender::config::EXAMPLE, sender::config::SECTIONS);
        let printed = parse::<sender::config::Config>(&page, "printed.toml", forbidden).unwrap();
        let short = parse::<sender::config::Config>(sender::config::EXAMPLE, "short.toml", forbidden).unwrap();
        assert_eq!(format!("{printed:?}"), format!("{short:?}"));
        let page = service::config::template(receiver::config::EXAMPLE, receiver::config::SECTIONS);
        let printed = parse::<receiver::config::Config>(&page, "printed.toml", forbidden).unwrap();
        let short = parse::<receiver::config::Config>(receiver::config::EXAMPLE, "short.toml", forbidden).unwrap();
        assert_eq!(format!("{printed:?}"), format!("{short:?}"));
    }

    #[test]
    fn every_default_printed_as_a_comment_is_in_effect() {
        let page = service::config::template(sender::config::EXAMPLE, sender::config::SECTIONS);
        let setting = |line: &&str| line.starts_with("# ") && line.contains(" = ") && !line.contains('`');
        let all =
            page.lines().map(|line| if setting(&line) { &line[2..] } else { line }).collect::<Vec<_>>().join("\n");
        let short = parse::<sender::config::Config>(sender::config::EXAMPLE, "short.toml", forbidden).unwrap();
        let stated = parse::<sender::config::Config>(&all, "stated.toml", forbidden).unwrap();
        assert_eq!(format!("{stated:?}"), format!("{short:?}"));
    }
}
