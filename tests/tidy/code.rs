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
    /// In a `use` with a visibility: the name can be reached from here too.
    pub(crate) reexported: bool,
    /// The other name that `as` gives it.
    pub(crate) alias: Option<String>,
}

impl NamePath {
    /// Whether the names of `pattern` (`std::fs`, `Instant::now`) stand in this path one after the other.
    pub(crate) fn contains(&self, pattern: &str) -> bool {
        let wanted: Vec<&str> = pattern.split("::").collect();
        self.names.windows(wanted.len()).any(|window| window == wanted)
    }
}

/// A function or a type where it is defined.
#[derive(Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) name: String,
    /// Lines of the file, counted from 1.
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) in_test: bool,
}

/// One file, read.
#[derive(Default)]
pub(crate) struct Code {
    pub(crate) paths: Vec<NamePath>,
    /// Functions with a body.
    pub(crate) functions: Vec<Definition>,
    /// Structs, enums, unions, traits and type aliases; associated types are not among them.
    pub(crate) types: Vec<Definition>,
    /// Modules declared in files of their own.
    pub(crate) children: Vec<String>,
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
        code.walk(tokens, false, false);
        code
    }

    fn walk(&mut self, stream: TokenStream, mut in_test: bool, in_impl: bool) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        // Where the item under a `#[cfg(test)]` began, until its end.
        let mut test_item: Option<usize> = None;
        // The next braces are the body of an `impl` or a trait.
        let mut impl_follows = false;
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
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    impl_follows = false;
                    self.end_test_item(&mut test_item, &tokens[at]);
                }
                TokenTree::Ident(ident) if *ident == "use" => {
                    let end = tokens[at..].iter().position(is_semicolon).map_or(tokens.len(), |length| at + length);
                    let first = self.paths.len();
                    self.use_tree(&tokens[at + 1..end], &[], here);
                    let reexported = has_visibility(&tokens, at);
                    self.paths[first..].iter_mut().for_each(|path| path.reexported = reexported);
                    at = end;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    impl_follows |= *ident == "impl" || *ident == "trait";
                    self.definition(&tokens, at, here, in_impl);
                    // The name of a module that is declared here is no use of it.
                    at = if *ident == "mod" { at + 1 } else { self.path(&tokens, at, here) };
                }
                // 'super' in 'pub(super)' is no use of the module above.
                TokenTree::Group(_) if at > 0 && is_pub(&tokens[at - 1]) => {}
                TokenTree::Group(group) => {
                    let is_braced = group.delimiter() == Delimiter::Brace;
                    self.walk(group.stream(), here, is_braced && impl_follows);
                    if is_braced {
                        impl_follows = false;
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
            condition.walk(inside.stream(), false, false);
        }
        let asks = |word: &str| condition.paths.iter().any(|path| path.names == [word]);
        asks("test") && !asks("not")
    }

    /// Keeps what the keyword at `at` defines, if it is one that does.
    fn definition(&mut self, tokens: &[TokenTree], at: usize, in_test: bool, in_impl: bool) {
        let (TokenTree::Ident(keyword), Some(TokenTree::Ident(name))) = (&tokens[at], tokens.get(at + 1)) else {
            return;
        };
        let ends = |token: &TokenTree| is_semicolon(token) || is_braces(token);
        let Some(last) = tokens[at..].iter().find(|token| ends(token)) else { return };
        let (name, first) = (name.to_string(), line_of(&tokens[at]));
        let definition = Definition { name, first, last: last.span().end().line, in_test };
        match keyword.to_string().as_str() {
            "fn" if is_braces(last) => self.functions.push(definition),
            "struct" | "enum" | "union" | "trait" => self.types.push(definition),
            "type" if !in_impl => self.types.push(definition),
            "mod" if is_semicolon(last) => self.children.push(definition.name),
            _ => {}
        }
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
        let (line, reexported, alias) = (line_of(&tokens[at]), false, None);
        self.paths.push(NamePath { names, line, in_test, called, expanded, reexported, alias });
        last
    }

    /// `a::{b, c::d as e}` as `a::b` and `a::c::d`.
    fn use_tree(&mut self, tokens: &[TokenTree], before: &[String], in_test: bool) {
        for branch in tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
            let mut names = before.to_vec();
            let mut line = None;
            let mut grouped = false;
            let mut alias = None;
            for (at, token) in branch.iter().enumerate() {
                match token {
                    TokenTree::Ident(ident) if *ident == "as" => {
                        alias = branch.get(at + 1).map(ToString::to_string);
                        break;
                    }
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
                let (called, expanded, reexported) = (false, false, false);
                self.paths.push(NamePath { names, line, in_test, called, expanded, reexported, alias });
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

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_pub(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(ident) if *ident == "pub")
}

/// Whether `pub` or `pub(…)` stands before the token at `at`.
fn has_visibility(tokens: &[TokenTree], at: usize) -> bool {
    match at.checked_sub(1).map(|before| &tokens[before]) {
        Some(TokenTree::Group(_)) => at >= 2 && is_pub(&tokens[at - 2]),
        Some(token) => is_pub(token),
        None => false,
    }
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

#[test]
fn definitions_are_seen_with_their_lines_and_associated_types_are_not() {
    let code = Code::read(
        "mod a;\npub use a::B as C;\nuse d::E;\nimpl F for G {\n    type H = I;\n    fn j(\n    ) {\n    }\n}\n\
         type K = L;\ntrait M {\n    type N;\n    fn o();\n}\nenum P {}\n",
    );
    let names = |definitions: &[Definition]| -> Vec<(String, usize, usize)> {
        definitions.iter().map(|found| (found.name.clone(), found.first, found.last)).collect()
    };
    assert_eq!(names(&code.functions), [("j".to_owned(), 6, 8)]);
    assert_eq!(names(&code.types), [("K".to_owned(), 10, 10), ("M".to_owned(), 11, 14), ("P".to_owned(), 15, 15)]);
    assert_eq!(code.children, ["a"]);
    let reexported: Vec<_> = code.paths.iter().filter(|path| path.reexported).collect();
    assert_eq!((reexported.len(), reexported[0].alias.as_deref()), (1, Some("C")));
}
