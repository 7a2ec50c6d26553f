//! Random stacks of layers against a simple way to lay them over each other: a list of paths.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    File(String),
    Dir(String),
    Symlink(String),
    Link(String, String),
    Gone(String),
    Opaque(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Dir,
    /// The number of the operation that made it: hard links share it.
    File(usize),
    Symlink,
}

type Tree = BTreeMap<String, Node>;

fn remove(tree: &mut Tree, path: &str, itself: bool) {
    let below = format!("{path}/");
    tree.retain(|name, _| !(name.starts_with(&below) || itself && name == path));
}

fn put(tree: &mut Tree, path: &str, node: Node) {
    for (end, _) in path.match_indices('/') {
        if tree.get(&path[..end]) != Some(&Node::Dir) {
            remove(tree, &path[..end], true);
            tree.insert(path[..end].to_owned(), Node::Dir);
        }
    }
    if node != Node::Dir || tree.get(path) != Some(&Node::Dir) {
        remove(tree, path, true);
    }
    tree.insert(path.to_owned(), node);
}

/// None if a link has nowhere to lead to.
fn model(layers: &[Vec<Op>]) -> Option<Tree> {
    let mut tree = Tree::new();
    let mut number = 0;
    for ops in layers {
        for op in ops {
            match op {
                Op::Gone(path) => remove(&mut tree, path, true),
                Op::Opaque(path) => remove(&mut tree, path, false),
                _ => {}
            }
        }
        for op in ops {
            number += 1;
            match op {
                Op::File(path) => put(&mut tree, path, Node::File(number)),
                Op::Dir(path) => put(&mut tree, path, Node::Dir),
                Op::Symlink(path) => put(&mut tree, path, Node::Symlink),
                Op::Link(path, target) => {
                    let node = tree.get(target).filter(|node| **node != Node::Dir)?.clone();
                    put(&mut tree, path, node);
                }
                Op::Gone(_) | Op::Opaque(_) => {}
            }
        }
    }
    Some(tree)
}

fn items(layers: &[Vec<Op>]) -> Vec<Vec<Item>> {
    let mut number = 0;
    let mut item = |op: &Op| {
        number += 1;
        match op {
            Op::File(path) => file(path, number.to_string()),
            Op::Dir(path) => dir(path),
            Op::Symlink(path) => symlink(path, "somewhere"),
            Op::Link(path, target) => link(path, target),
            Op::Gone(path) => match path.rsplit_once('/') {
                Some((folder, name)) => file(&format!("{folder}/.wh.{name}"), ""),
                None => file(&format!(".wh.{path}"), ""),
            },
            Op::Opaque(path) => file(&format!("{path}/.wh..wh..opq"), ""),
        }
    };
    layers.iter().map(|ops| ops.iter().map(&mut item).collect()).collect()
}

/// The tree in a tar file, which has to have each folder before what is in it.
fn tree_of(bytes: &[u8]) -> Tree {
    let mut tree = Tree::new();
    for entry in tar::Archive::new(bytes).entries().unwrap().skip(1) {
        let mut entry = entry.unwrap();
        let plain = |path: &[u8]| {
            let path = String::from_utf8(path.to_vec()).unwrap();
            path.trim_end_matches('/').strip_prefix("./").unwrap().to_owned()
        };
        let path = plain(&entry.path_bytes());
        if let Some((folder, _)) = path.rsplit_once('/') {
            assert_eq!(tree.get(folder), Some(&Node::Dir), "{path}");
        }
        let node = match entry.header().entry_type() {
            tar::EntryType::Directory => Node::Dir,
            tar::EntryType::Symlink => Node::Symlink,
            tar::EntryType::Link => tree[&plain(&entry.link_name_bytes().unwrap())].clone(),
            _ => {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                Node::File(text.parse().unwrap())
            }
        };
        assert_eq!(tree.insert(path, node), None);
    }
    tree
}

fn path() -> impl Strategy<Value = String> {
    "[abc](/[abc]){0,3}"
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => path().prop_map(Op::File),
        2 => path().prop_map(Op::Dir),
        // No path leads through one: that is not in the model.
        1 => "[abc]/s|s".prop_map(Op::Symlink),
        2 => (path(), "[abcs](/[abc])?").prop_map(|(path, target)| Op::Link(path, target)),
        2 => path().prop_map(Op::Gone),
        1 => path().prop_map(Op::Opaque),
    ]
}

/// Whether a name might be that of a symbolic link where it is used as a folder.
fn links_are_leaves(layers: &[Vec<Op>]) -> bool {
    !layers.iter().flatten().any(|op| matches!(op, Op::Link(_, target) if target.ends_with('s')))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn layers_make_the_tree_that_applying_them_in_order_makes(
        layers in prop::collection::vec(prop::collection::vec(op(), 0..8), 1..5)
    ) {
        prop_assume!(links_are_leaves(&layers));
        let bytes: Vec<_> = items(&layers).iter().map(|items| layer(items)).collect();
        match (model(&layers), read(&stack(&bytes))) {
            (Some(expected), Ok(root)) => {
                let first = write(&root);
                prop_assert_eq!(tree_of(&first), expected);
                prop_assert_eq!(write(&read(&stack(std::slice::from_ref(&first))).unwrap()), first);
            }
            (None, Err(FlattenError::Entry { .. })) => {}
            (expected, found) => prop_assert!(false, "{:?} {:?}", expected, found.map(drop)),
        }
    }
}
