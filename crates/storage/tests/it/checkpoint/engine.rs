//! What every engine promises, whatever is stored in it.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_storage::checkpoint::Engine;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::on_each_engine;

fn pair(key: &str, value: &str) -> (Vec<u8>, Option<Bytes>) {
    (key.as_bytes().to_vec(), Some(Bytes::copy_from_slice(value.as_bytes())))
}

fn keys(engine: &dyn Engine, start: &str, end: &str, rows_max: usize, bytes_max: usize) -> Vec<String> {
    let found = engine.scan(start.as_bytes(), end.as_bytes(), rows_max, bytes_max).unwrap();
    found.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

#[test]
fn a_scan_is_in_order_and_keeps_its_bounds() {
    on_each_engine(|open| {
        let engine = open();
        engine.write(["d", "a", "c", "b", "bb"].map(|key| pair(key, "12345")).to_vec()).unwrap();
        assert_eq!(keys(&*engine, "a", "z", 100, 1000), ["a", "b", "bb", "c", "d"]);
        assert_eq!(keys(&*engine, "b", "c", 100, 1000), ["b", "bb"]);
        assert_eq!(keys(&*engine, "a", "z", 2, 1000), ["a", "b"]);
        assert_eq!(keys(&*engine, "a", "z", 0, 1000), ["a"]);
        assert_eq!(keys(&*engine, "a", "z", 100, 10), ["a", "b"]);
        assert_eq!(keys(&*engine, "a", "z", 100, 11), ["a", "b", "bb"]);
        assert_eq!(keys(&*engine, "a", "z", 100, 1), ["a"]);
        assert!(keys(&*engine, "c", "c", 100, 1000).is_empty());
        assert!(keys(&*engine, "d", "a", 100, 1000).is_empty());
        assert!(keys(&*engine, "e", "z", 100, 1000).is_empty());
    });
}

#[test]
fn deleting_what_is_not_there_is_no_error_and_an_empty_value_is_a_value() {
    on_each_engine(|open| {
        let engine = open();
        engine.write(vec![pair("a", ""), (b"never".to_vec(), None)]).unwrap();
        assert_eq!(engine.get(b"a").unwrap(), Some(Bytes::new()));
        assert_eq!(engine.get(b"never").unwrap(), None);
        engine.write(vec![]).unwrap();
        engine.write(vec![(b"a".to_vec(), None)]).unwrap();
        assert_eq!(engine.get(b"a").unwrap(), None);
        engine.flush().unwrap();
        engine.flush().unwrap();
    });
}

#[test]
fn every_engine_agrees_with_a_map_over_restarts() {
    const SEED: u64 = 7;
    on_each_engine(|open| {
        let mut random = SmallRng::seed_from_u64(SEED);
        let mut model = BTreeMap::new();
        for _ in 0..4 {
            let engine = open();
            for _ in 0..40 {
                let mut batch = BTreeMap::new();
                for _ in 0..random.random_range(1..60) {
                    let key = format!("k{:03}", random.random_range(0..400)).into_bytes();
                    let value = random.random_bool(0.7).then(|| {
                        let bytes =
                            if random.random_bool(0.05) { 35_000 } else { random.random_range(0..400) };
                        Bytes::from(vec![random.random::<u8>(); bytes])
                    });
                    batch.insert(key, value);
                }
                for (key, value) in &batch {
                    match value {
                        Some(value) => model.insert(key.clone(), value.clone()),
                        None => model.remove(key),
                    };
                }
                engine.write(batch.into_iter().collect()).unwrap();
            }
            engine.flush().unwrap();
            let found: BTreeMap<_, _> =
                engine.scan(b"k", b"l", 10_000, usize::MAX).unwrap().into_iter().collect();
            assert!(found == model, "seed {SEED}");
        }
    });
}
