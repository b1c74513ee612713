//! The page of each server model: `docs/models/NAME.md`, built into the program, so that `models NAME` and the
//! documentation never differ.

/// The pages, in the order of the table of models.
const PAGES: &[(&str, &str)] = &[
    ("threads", include_str!("../../docs/models/threads.md")),
    ("fork", include_str!("../../docs/models/fork.md")),
    ("select", include_str!("../../docs/models/select.md")),
    ("poll", include_str!("../../docs/models/poll.md")),
    ("sigio", include_str!("../../docs/models/sigio.md")),
    ("epoll", include_str!("../../docs/models/epoll.md")),
    ("kqueue", include_str!("../../docs/models/kqueue.md")),
    ("io-uring", include_str!("../../docs/models/io-uring.md")),
    ("tokio", include_str!("../../docs/models/tokio.md")),
    ("wsapoll", include_str!("../../docs/models/wsapoll.md")),
    ("async-select", include_str!("../../docs/models/async-select.md")),
    ("event-select", include_str!("../../docs/models/event-select.md")),
    ("overlapped-event", include_str!("../../docs/models/overlapped-event.md")),
    ("overlapped-callback", include_str!("../../docs/models/overlapped-callback.md")),
    ("iocp", include_str!("../../docs/models/iocp.md")),
    ("threadpool-io", include_str!("../../docs/models/threadpool-io.md")),
];

/// The page of a model of the table.
///
/// # Panics
/// The model has no page; a test walks the table.
pub(super) fn page(model: &str) -> &'static str {
    PAGES.iter().find(|(name, _)| *name == model).map(|(_, page)| page.trim_end()).expect("each model has a page")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::server::models::TABLE;

    /// A line of a terminal. Only a command that cannot be broken may be longer.
    const COLUMNS: usize = 80;

    #[test]
    fn each_model_has_its_page_and_each_page_its_model() {
        let names = |of: &mut dyn Iterator<Item = &'static str>| of.collect::<Vec<_>>();
        let of_pages = names(&mut PAGES.iter().map(|(name, _)| *name));
        assert_eq!(of_pages, names(&mut TABLE.iter().map(|model| model.name)));
        for model in TABLE {
            let systems = if model.os.to_string() == "all" { "All systems".to_owned() } else { model.os.to_string() };
            let head = format!("# {}\n\n{systems} · {} · ", model.name, model.pattern);
            assert!(page(model.name).starts_with(&head), "docs/models/{}.md begins with\n{head}", model.name);
        }
    }

    #[test]
    fn each_page_has_the_same_parts() {
        let parts = [
            "The calls",
            "What a message costs",
            "The classic limit",
            "How ours passes it",
            "When to choose it",
            "See it",
            "Source",
        ];
        for (name, page) in PAGES {
            let found: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            assert_eq!(found, parts, "docs/models/{name}.md");
            for line in page.lines() {
                assert!(line.chars().count() <= COLUMNS, "docs/models/{name}.md: too long for a terminal: {line}");
            }
        }
    }

    #[test]
    fn the_source_files_that_a_page_names_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, page) in PAGES {
            let (_, source) = page.split_once("\n## Source\n").expect("the page has this part");
            let files: Vec<&str> = source.split('`').filter(|word| word.starts_with("src/")).collect();
            let own = format!("src/server/models/{}", name.replace('-', "_"));
            assert!(files[0].starts_with(&own), "docs/models/{name}.md: first the model's own file, not {}", files[0]);
            for file in files {
                assert!(root.join(file).is_file(), "docs/models/{name}.md: there is no {file}");
            }
        }
    }
}
