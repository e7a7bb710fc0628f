use proptest::prelude::*;

use super::*;
use crate::{
    PodDefinition, Resources,
    limits::FINDINGS_MAX,
    mount::{MountKind, VolumeMount},
};

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn whole_values_are_classified() {
    let cases = [
        ("${secret:db-pass}", Some(Pattern::Secret { user: None, name: "db-pass" })),
        ("${secret:ann@x.org:db}", Some(Pattern::Secret { user: Some("ann@x.org"), name: "db" })),
        ("${:?Password, at least 8}", Some(Pattern::Required { description: "Password, at least 8" })),
        ("${pods:default:}", Some(Pattern::Default { value: "", description: None })),
        ("${pods:default:app:?Name}", Some(Pattern::Default { value: "app", description: Some("Name") })),
        ("${pods:random:20}", Some(Pattern::Random { length: 20 })),
        ("${pods:url}", Some(Pattern::PodUrl)),
        ("${pods:tapis_url}", Some(Pattern::TapisUrl)),
        ("${pods:pod_id}", Some(Pattern::PodId)),
        (
            "${pods:networking:default:port}",
            Some(Pattern::Networking { entry: "default", field: NetworkingField::Port }),
        ),
        ("${pods:secrets:KEY}", Some(Pattern::Reference { key: "KEY", description: None })),
        ("${pods:secrets:KEY:?why}", Some(Pattern::Reference { key: "KEY", description: Some("why") })),
        ("${pods:secrets:KEY?why}", Some(Pattern::Unknown)),
        ("${pods:default:http://x}", Some(Pattern::Unknown)),
        ("${pods:networking:default:secret}", Some(Pattern::Unknown)),
        ("${secret:a b}", Some(Pattern::Unknown)),
        ("${secret:a:b:c}", Some(Pattern::Unknown)),
        ("${:?}", Some(Pattern::Unknown)),
        ("${HOME}", Some(Pattern::Unknown)),
        ("${pods:random:20} ", None),
        ("${pods:url", None),
        ("hunter2", None),
        ("", None),
    ];
    for (text, expected) in cases {
        assert_eq!(whole(text), expected, "{text}");
    }
}

#[test]
fn patterns_are_found_inside_of_a_text() {
    let text = "postgres://u:${pods:secrets:PASS}@${X${pods:url}:5432/${unclosed";
    let found: Vec<Pattern<'_>> = pieces(text)
        .filter_map(|piece| match piece {
            Piece::Pattern { pattern, .. } => Some(pattern),
            Piece::Text(_) => None,
        })
        .collect();
    assert_eq!(found, [Pattern::Reference { key: "PASS", description: None }, Pattern::PodUrl]);
    assert_eq!(references(text).collect::<Vec<_>>(), ["PASS"]);
}

#[test]
fn short_references_become_long_ones_everywhere() {
    assert_eq!(expand_secrets("${secret:db}", "ann"), "${secret:ann:db}");
    assert_eq!(expand_secrets("a${secret:db}b${secret:bob:x}", "ann"), "a${secret:ann:db}b${secret:bob:x}");
    assert_eq!(expand_secrets("${secret:a b} ${HOME}", "ann"), "${secret:a b} ${HOME}");
    let mut values = map(&[("A", "${secret:db}"), ("B", "plain")]);
    expand_map(&mut values, "ann");
    assert_eq!(values, map(&[("A", "${secret:ann:db}"), ("B", "plain")]));
}

fn problems(entries: &[(&str, &str)], owner: Owner) -> Vec<String> {
    let mut violations = Violations::default();
    check_secret_map(&["secret_map"], &map(entries), owner, &mut violations);
    violations.0
}

#[test]
fn secret_maps_are_checked() {
    let good = [
        ("DB_PASS", "${secret:db}"),
        ("a-1", "${secret:ann:db} and more"),
        ("R", "${pods:random:8}"),
        ("D", "${pods:default:}"),
        ("L", "literal ${HOME} $ { }"),
    ];
    assert_eq!(problems(&good, Owner::Pod), Vec::<String>::new());
    let long = "x".repeat(SECRET_MAP_BYTES_MAX);
    let cases = [
        (("a.b", "x"), "must be alphanumeric"),
        (("", "x"), "must be alphanumeric"),
        (("__", "x"), "must be alphanumeric"),
        (("ä", "x"), "must be alphanumeric"),
        (("A", "${pods:random:7}"), "between 8 and 128"),
        (("A", "${pods:random:99999999999999999999}"), "between 8 and 128"),
        (("A", "${pods:random:x}"), "with a number N"),
        (("A", "x${pods:random:20}"), "must be the whole value"),
        (("A", "${pods:default:a:b}"), "cannot contain a colon"),
        (("A", long.as_str()), "entries of"),
    ];
    for (entry, expected) in cases {
        let found = problems(&[entry], Owner::Pod);
        assert!(found.len() == 1 && found[0].contains(expected), "{entry:?}: {found:?}");
        assert!(found[0].starts_with("secret_map") && !found[0].contains("xxxx"), "{found:?}");
    }
    assert!(
        problems(&[("A", "${pods:random:7}")], Owner::Pod)[0].starts_with("secret_map, A: Value error, ")
    );
}

#[test]
fn templates_never_name_the_secret_of_a_user() {
    for value in ["${secret:x}", "${secret:u:x}", "a ${secret:u:x} b", "${secret:not a name}"] {
        assert_eq!(problems(&[("A", value)], Owner::Template).len(), 1, "{value}");
    }
    assert!(problems(&[("A", "${:?Password}"), ("B", "text")], Owner::Template).is_empty());
}

#[test]
fn open_values_are_listed_for_the_user() {
    let found = placeholders(&map(&[
        ("DB", "${pods:default:app:?Database name}"),
        ("EMPTY", "${pods:default:}"),
        ("PASS", "${:?Password of the superuser}"),
        ("URL", "http://${:?Host}/x"),
        ("LITERAL", "x"),
    ]));
    let texts = found.texts();
    assert_eq!(texts.required, ["PASS: REQUIRED: Password of the superuser", "URL: REQUIRED: Host"]);
    assert_eq!(texts.optional, ["DB: Database name Default: 'app'", "EMPTY: Default: ''"]);
    assert!(!found.is_empty() && placeholders(&map(&[("A", "b")])).is_empty());
    assert_eq!(random_keys(&map(&[("R", "${pods:random:12}"), ("X", "y")])), [("R".to_owned(), 12)]);
}

fn pod() -> PodDefinition {
    let mut pod = PodDefinition::with_resources(Resources::default());
    pod.secret_map = map(&[("PASS", "${secret:ann:db}"), ("LITERAL", "hunter2")]);
    pod.environment_variables = map(&[
        ("A", "x ${pods:secrets:PASS} hunter2"),
        ("B", "${pods:secrets:OTHER?needed}"),
        ("C", "<TAPIS_user_password> <<TAPIS_user_password>>"),
        ("D", "${pods:random:20}"),
        ("PLAIN", "hunter2"),
    ]);
    let mut file = VolumeMount::new(MountKind::Ephemeral);
    file.config_content = Some("p=${pods:secrets:PASS}\nh=${HOME}\nq=${pods:secrets:NONE}".to_owned());
    pod.volume_mounts.insert("/etc/app.ini".to_owned(), Some(file));
    pod.volume_mounts.insert("/a".to_owned(), None);
    pod
}

#[test]
fn the_report_names_patterns_and_hides_values() {
    let report = unresolved(&pod());
    assert!(report.has_unresolved);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json["secret_map_unresolved"],
        serde_json::json!([{"key": "PASS", "patterns": [{"pattern": "${secret:ann:db}", "type": "user_secret"}]}])
    );
    assert_eq!(json["config_unresolved"][0]["index"], 0);
    assert_eq!(json["config_unresolved"][0]["patterns"][1]["type"], "unknown");
    assert_eq!(json["syntax_warnings"][0]["suggestion"], "${pods:secrets:OTHER:?needed}");
    assert_eq!(json["syntax_warnings"][0]["location"], "environment_variables.B");
    assert!(!json.to_string().contains("hunter2"));
    let empty = unresolved(&PodDefinition::with_resources(Resources::default()));
    assert!(!empty.has_unresolved && empty.env_vars_unresolved.is_empty());
}

#[test]
fn texts_that_do_not_do_what_they_seem_to_are_warned_about() {
    let warnings = config_syntax_warnings(&pod());
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings[0].contains("missing colon"));
    assert!(warnings[1].starts_with("environment_variables.D: ${pods:random:20}"));
    assert!(warnings[2].contains("refers to the key NONE of secret_map"), "{warnings:?}");
    assert!(warnings[3].ends_with("write <<TAPIS_user_password>>"), "{warnings:?}");
}

/// A file of one MiB with `pattern(n)` for ever new n.
fn full_of(pattern: impl Fn(usize) -> String) -> PodDefinition {
    let mut content = String::new();
    for n in 0.. {
        content += &pattern(n);
        if content.len() > 1024 * 1024 {
            break;
        }
    }
    let mut file = VolumeMount::new(MountKind::Ephemeral);
    file.config_content = Some(content);
    let mut pod = PodDefinition::with_resources(Resources::default());
    pod.volume_mounts.insert("/etc/app.ini".to_owned(), Some(file));
    pod
}

#[test]
fn a_report_names_each_pattern_of_a_text_once_and_no_more_than_fit() {
    let same = unresolved(&full_of(|_| "${a}".to_owned()));
    assert_eq!(same.config_unresolved[0].patterns.len(), 1);
    assert!(!same.summary.contains("there are more"), "{}", same.summary);
    let report = |pattern: &dyn Fn(usize) -> String| {
        let pod = full_of(pattern);
        (serde_json::to_string(&unresolved(&pod)).unwrap(), config_syntax_warnings(&pod))
    };
    let long = "x".repeat(1800);
    let patterns: [&dyn Fn(usize) -> String; 7] = [
        &|_| "${a}".to_owned(),
        &|n| format!("${{a{n}}}"),
        &|n| format!("${{pods:secrets:K{n}}}"),
        &|n| format!("${{pods:secrets:K{n}?why}}"),
        &|n| format!("${{pods:default:{n}}}"),
        &|n| format!("<TAPIS_{n}>"),
        &|n| format!("${{pods:secrets:K{n}?{long}}}"),
    ];
    for (index, pattern) in patterns.into_iter().enumerate() {
        let (report, warnings) = report(pattern);
        assert!(report.len() < 128 * 1024, "{index}: {}", report.len());
        let bytes: usize = warnings.iter().map(String::len).sum();
        assert!(warnings.len() <= FINDINGS_MAX + 1 && bytes < 128 * 1024, "{index}: {bytes}");
        assert_eq!(warnings.last().is_some_and(|last| last.contains("there are more")), index > 1, "{index}");
        assert_eq!(report.contains("there are more"), !matches!(index, 0 | 5), "{index}");
    }
    let unknown = full_of(|n| format!("${{pods:secrets:K{n}}}"));
    assert_eq!(unknown_references(&map(&[]), &unknown.volume_mounts, &map(&[])).len(), FINDINGS_MAX);
}

#[test]
fn open_values_are_named_once_for_each_key() {
    let many: String = (0..20_000).map(|n| format!("${{:?v{n}}}${{pods:default:{n}}}")).collect();
    let found = placeholders(&map(&[("A", &many), ("B", "${:?x}${:?x}")]));
    assert_eq!((found.required.len(), found.optional.len()), (FINDINGS_MAX, FINDINGS_MAX));
    let twice = placeholders(&map(&[("B", "${:?x}${:?x}${:?y}")])).required;
    assert_eq!(twice.iter().map(|open| open.description.as_str()).collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn references_to_missing_keys_are_found() {
    let pod = pod();
    let unknown = unknown_references(&pod.environment_variables, &pod.volume_mounts, &pod.secret_map);
    assert_eq!(unknown.len(), 1);
    assert_eq!(
        (unknown[0].place.as_str(), unknown[0].key.as_str()),
        ("volume_mounts, /etc/app.ini, config_content", "NONE")
    );
}

#[test]
fn the_older_placeholders_are_found() {
    let pieces = legacy_pieces("a<<TAPIS_user_username>>:<<tapissecret_user_password>>b<<TAPIS_x");
    let names: Vec<&str> = pieces
        .iter()
        .filter_map(|piece| match piece {
            LegacyPiece::Name { name, .. } => Some(*name),
            LegacyPiece::Text(_) => None,
        })
        .collect();
    assert_eq!(names, ["user_username", "user_password"]);
    for text in ["<<other>> <TAPIS_x>", "cat <<TAPIS_EOF\nx\nEOF\necho >> file", "<<TAPIS_"] {
        assert_eq!(legacy_pieces(text), [LegacyPiece::Text(text)]);
    }
    let nested = legacy_pieces("<<<TAPIS_a>>");
    assert_eq!(nested[1], LegacyPiece::Name { text: "<<TAPIS_a>>", name: "a" });
}

proptest! {
    #[test]
    fn pieces_joined_are_the_text(text in "([a-z:?${}]|\\$\\{|pods:|secret:|default:|random:|<<TAPIS_|>>|\\PC){0,40}") {
        let joined: String = pieces(&text)
            .map(|piece| match piece {
                Piece::Text(text) | Piece::Pattern { text, .. } => text,
            })
            .collect();
        prop_assert_eq!(&joined, &text);
        let joined: String = legacy_pieces(&text)
            .iter()
            .map(|piece| match piece {
                LegacyPiece::Text(text) | LegacyPiece::Name { text, .. } => *text,
            })
            .collect();
        prop_assert_eq!(&joined, &text);
        legacy::single_angled(&text);
        problems(&[("A", &text)], Owner::Template);
    }

    #[test]
    fn expanding_twice_changes_nothing_more(text in "(\\$\\{secret:[a-z:]{0,5}\\}|[a-z${}]){0,12}") {
        let once = expand_secrets(&text, "ann");
        prop_assert_eq!(expand_secrets(&once, "bob"), once.clone());
    }

    #[test]
    fn written_secrets_are_read_again(user in "[A-Za-z0-9_.@-]{1,20}", name in "[A-Za-z0-9_-]{1,20}") {
        let text = format!("${{secret:{user}:{name}}}");
        prop_assert_eq!(whole(&text), Some(Pattern::Secret { user: Some(&user), name: &name }));
    }
}
