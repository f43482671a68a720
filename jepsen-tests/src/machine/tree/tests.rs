use rand::SeedableRng as _;

use super::*;

fn name(name: &str) -> &OsStr {
    OsStr::new(name)
}

fn after_cuts(tree: impl Fn() -> Tree, file: &str) -> BTreeSet<Option<Vec<u8>>> {
    let cut = |seed| {
        let mut tree = tree();
        tree.power_cut(&mut SmallRng::seed_from_u64(seed));
        let id = tree.lookup(ROOT, name(file)).ok()?;
        Some(tree.read(id, 0, 4_096).unwrap().to_vec())
    };
    (0..200).map(cut).collect()
}

fn synced(bytes: &[u8]) -> (Tree, u64) {
    let mut tree = Tree::default();
    let id = tree.make(ROOT, name("f"), false).unwrap();
    tree.write(id, 0, bytes).unwrap();
    tree.sync(id).unwrap();
    tree.sync(ROOT).unwrap();
    (tree, id)
}

#[test]
fn what_was_synced_survives() {
    let outcomes = after_cuts(|| synced(b"abc").0, "f");
    assert_eq!(outcomes, BTreeSet::from([Some(b"abc".to_vec())]));
}

#[test]
fn what_was_not_synced_survives_by_chance_and_in_blocks() {
    let written = || {
        let (mut tree, id) = synced(&[1; 1_024]);
        tree.write(id, 0, &[2; 1_024]).unwrap();
        tree
    };
    let outcomes: BTreeSet<(u8, u8)> =
        after_cuts(written, "f").into_iter().flatten().map(|bytes| (bytes[0], bytes[512])).collect();
    assert_eq!(outcomes, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn a_synced_file_without_a_synced_name_may_be_gone() {
    let named = || {
        let mut tree = Tree::default();
        let id = tree.make(ROOT, name("f"), false).unwrap();
        tree.write(id, 0, b"x").unwrap();
        tree.sync(id).unwrap();
        tree
    };
    assert_eq!(after_cuts(named, "f"), BTreeSet::from([None, Some(b"x".to_vec())]));
}

#[test]
fn a_rename_happens_or_does_not() {
    let renamed = || {
        let (mut tree, _) = synced(b"old");
        let id = tree.make(ROOT, name("new"), false).unwrap();
        tree.write(id, 0, b"new").unwrap();
        tree.sync(id).unwrap();
        tree.rename((ROOT, name("new")), (ROOT, name("f"))).unwrap();
        tree
    };
    assert_eq!(after_cuts(renamed, "f"), BTreeSet::from([Some(b"old".to_vec()), Some(b"new".to_vec())]));
}

#[test]
fn what_a_failed_sync_lost_stays_lost() {
    let failed = || {
        let (mut tree, id) = synced(b"abc");
        tree.write(id, 0, b"xyz").unwrap();
        tree.next_sync_fails = true;
        assert_eq!(tree.sync(id), Err(Refusal::Broken));
        assert_eq!(tree.sync(id), Ok(()));
        assert_eq!(tree.read(id, 0, 3), Ok(&b"xyz"[..]));
        tree
    };
    assert_eq!(after_cuts(failed, "f"), BTreeSet::from([Some(b"abc".to_vec())]));
}

#[test]
fn a_full_disk_takes_what_is_there_already() {
    let (mut tree, id) = synced(b"abc");
    tree.is_full = true;
    assert_eq!(tree.write(id, 1, b"xy"), Ok(()));
    assert_eq!(tree.write(id, 1, b"xyz"), Err(Refusal::NoSpace));
}
