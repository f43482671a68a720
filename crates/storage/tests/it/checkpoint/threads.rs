//! Reads beside commits: payloads are fetched from a checkpoint while newer ones are written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use phalanx_storage::checkpoint::ReplicaCheckpoint;

use super::{delete, fields, on_each_engine, put};

const RUN_TIME: Duration = Duration::from_millis(300);

#[test]
fn a_long_row_that_changes_while_it_is_read_is_of_one_moment() {
    on_each_engine(|open| {
        let checkpoint = ReplicaCheckpoint::open(open(), 1, 0).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = [0_usize; 2];
                while !is_over.load(Ordering::Acquire) {
                    let row = checkpoint.get(b"row").unwrap();
                    let rows = checkpoint.rows(None, 10_000_000).unwrap();
                    for value in row.iter().chain(rows.iter().map(|(_, value)| value)) {
                        assert!(value.iter().all(|byte| *byte == value[0]), "halves of two values");
                    }
                    seen[usize::from(row.is_some())] += 1;
                }
                seen
            });
            let begun = Instant::now();
            let mut index = 0_u64;
            while begun.elapsed() < RUN_TIME {
                index += 1;
                let change = match index % 3 {
                    0 => delete("row"),
                    short_or_long => {
                        put("row", vec![index as u8; [0, 50_000, 400_000][short_or_long as usize]])
                    }
                };
                checkpoint.commit(fields(index), vec![change], vec![]).unwrap();
            }
            is_over.store(true, Ordering::Release);
            let seen = reader.join().unwrap();
            assert!(seen[0] + seen[1] > 0, "nothing was read");
        });
    });
}
