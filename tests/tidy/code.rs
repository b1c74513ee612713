//! Rust source as names: every path in the code with its line, `use` trees spelt out, comments and strings gone.
//!
//! It knows tokens, not grammar: enough to say which names a file mentions, where its test code is, and which
//! attributes it bears. It must not resolve names; a rule that needs that is a lint's job.

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// Names joined by `::`, as written; one name is a path too.
#[derive(Debug, PartialEq)]
pub(crate) struct NamePath {
    pub(crate) names: Vec<String>,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Inside an item under `#[cfg(test)]`.
    pub(crate) in_test: bool,
    /// Followed by an argument list: a call, or a tuple's constructor.
    pub(crate) called: bool,
    /// Followed by `!`: a macro.
    pub(crate) expanded: bool,
}

impl NamePath {
    /// Whether the names of `pattern` (`std::fs`, `Instant::now`) stand in this path one after the other.
    pub(crate) fn contains(&self, pattern: &str) -> bool {
        let wanted: Vec<&str> = pattern.split("::").collect();
        self.names.windows(wanted.len()).any(|window| window == wanted)
    }
}

/// One file, read.
#[derive(Default)]
pub(crate) struct Code {
    pub(crate) paths: Vec<NamePath>,
    /// The inside of each attribute and its line; doc comments are not among them.
    pub(crate) attributes: Vec<(String, usize)>,
    /// First and last line of each item under `#[cfg(test)]`.
    pub(crate) test_items: Vec<(usize, usize)>,
}

impl Code {
    /// Reads a file. Files with invalid tokens do not compile, so they are no matter for a test.
    pub(crate) fn read(text: &str) -> Code {
        let mut code = Code::default();
        let tokens: TokenStream = text.parse().expect("a Rust file that compiles");
        code.walk(tokens, false);
        code
    }

    fn walk(&mut self, stream: TokenStream, mut in_test: bool) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        // Where the item under a `#[cfg(test)]` began, until its end.
        let mut test_item: Option<usize> = None;
        let mut at = 0;
        while at < tokens.len() {
            let here = in_test || test_item.is_some();
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let inner = matches!(tokens.get(at + 1), Some(TokenTree::Punct(next)) if next.as_char() == '!');
                    let position = at + 1 + usize::from(inner);
                    if let Some(TokenTree::Group(group)) = tokens.get(position)
                        && group.delimiter() == Delimiter::Bracket
                    {
                        if self.attribute(group) {
                            match inner {
                                true => in_test = true,
                                false => test_item = test_item.or(Some(line_of(&tokens[at]))),
                            }
                        }
                        at = position;
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => self.end_test_item(&mut test_item, &tokens[at]),
                TokenTree::Ident(ident) if *ident == "use" => {
                    let end = tokens[at..].iter().position(is_semicolon).map_or(tokens.len(), |length| at + length);
                    self.use_tree(&tokens[at + 1..end], &[], here);
                    at = end;
                    continue;
                }
                TokenTree::Ident(_) => at = self.path(&tokens, at, here),
                TokenTree::Group(group) => {
                    self.walk(group.stream(), here);
                    if group.delimiter() == Delimiter::Brace {
                        self.end_test_item(&mut test_item, &tokens[at]);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn end_test_item(&mut self, test_item: &mut Option<usize>, last: &TokenTree) {
        if let Some(first) = test_item.take() {
            self.test_items.push((first, last.span().end().line));
        }
    }

    /// Keeps an attribute; true if it is a `cfg` that asks for `test`.
    fn attribute(&mut self, group: &Group) -> bool {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let name = tokens.first().map(ToString::to_string).unwrap_or_default();
        if name == "doc" {
            return false;
        }
        self.attributes.push((group.stream().to_string(), group.span_open().start().line));
        let mut condition = Code::default();
        if let (true, Some(TokenTree::Group(inside))) = (name == "cfg", tokens.get(1)) {
            condition.walk(inside.stream(), false);
        }
        let asks = |word: &str| condition.paths.iter().any(|path| path.names == [word]);
        asks("test") && !asks("not")
    }

    /// Keeps the path that starts at `at`; the index of its last name.
    fn path(&mut self, tokens: &[TokenTree], at: usize, in_test: bool) -> usize {
        let mut names = vec![tokens[at].to_string()];
        let mut last = at;
        while is_double_colon(tokens, last + 1)
            && let Some(TokenTree::Ident(next)) = tokens.get(last + 3)
        {
            names.push(next.to_string());
            last += 3;
        }
        let after = tokens.get(last + 1);
        let called = matches!(after, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
        let expanded = matches!(after, Some(TokenTree::Punct(mark))
            if mark.as_char() == '!' && mark.spacing() == Spacing::Alone);
        self.paths.push(NamePath { names, line: line_of(&tokens[at]), in_test, called, expanded });
        last
    }

    /// `a::{b, c::d as e}` as `a::b` and `a::c::d`.
    fn use_tree(&mut self, tokens: &[TokenTree], before: &[String], in_test: bool) {
        for branch in tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
            let mut names = before.to_vec();
            let mut line = None;
            let mut grouped = false;
            for token in branch {
                match token {
                    TokenTree::Ident(ident) if *ident == "as" => break,
                    TokenTree::Ident(ident) => {
                        line.get_or_insert(line_of(token));
                        names.push(ident.to_string());
                    }
                    TokenTree::Group(group) => {
                        grouped = true;
                        let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                        self.use_tree(&inside, &names, in_test);
                    }
                    _ => {}
                }
            }
            if let (false, Some(line)) = (grouped, line.or(branch.first().map(line_of))) {
                self.paths.push(NamePath { names, line, in_test, called: false, expanded: false });
            }
        }
    }
}

fn line_of(token: &TokenTree) -> usize {
    token.span().start().line
}

fn is_semicolon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';')
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(tokens.get(at)) && colon(tokens.get(at + 1))
}

#[test]
fn paths_are_seen_with_their_lines_and_comments_and_strings_are_not() {
    let code = Code::read("// a::b\nfn f() {\n    c::d(\"e::f\");\n    g.h();\n}\n/// i::j\nstruct K;");
    let seen: Vec<(String, usize, bool)> =
        code.paths.iter().map(|path| (path.names.join("::"), path.line, path.called)).collect();
    let expected = [("fn", 2, false), ("f", 2, true), ("c::d", 3, true), ("g", 4, false), ("h", 4, true)];
    for (name, line, called) in expected {
        assert!(seen.contains(&(name.to_owned(), line, called)), "{name} in {seen:?}");
    }
    assert!(!seen.iter().any(|(name, ..)| ["a::b", "e::f", "i::j"].contains(&name.as_str())), "{seen:?}");
}

#[test]
fn use_trees_are_spelt_out() {
    let code = Code::read("use a::{b, c::{self, d as e}, f::*};");
    let seen: Vec<String> = code.paths.iter().map(|path| path.names.join("::")).collect();
    assert_eq!(seen, ["a::b", "a::c::self", "a::c::d", "a::f"]);
}

#[test]
fn code_under_cfg_test_is_told_from_the_rest_and_ends_where_the_item_ends() {
    let code = Code::read(
        "#[cfg(test)]\nuse a;\nuse b;\n#[cfg(all(test, unix))]\nmod tests {\n    c();\n}\n\
         fn d() {}\n#[cfg(not(test))]\nuse e;",
    );
    for (name, in_test) in [("a", true), ("b", false), ("c", true), ("d", false), ("e", false)] {
        let path = code.paths.iter().find(|path| path.names == [name]).expect("seen");
        assert_eq!(path.in_test, in_test, "{name}");
    }
    assert_eq!(code.test_items, [(1, 2), (4, 7)]);
}
