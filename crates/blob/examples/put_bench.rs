//! PUT/s and GET/s of the store in process, every PUT acknowledged after its fdatasync, beside a
//! bare append log with the same group commit.
//!
//! `cargo run --release -p fractus-blob --example put_bench -- [DIR] [SECONDS] [SIZE] [THREADS]`

use std::fs::File;
use std::io::{IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use fractus_blob::{BucketName, BucketSettings, Config, ObjectKey, ObjectMeta, Store};

const SIZES: [usize; 3] = [1 << 10, 4 << 10, 64 << 10];
const WRITERS: [usize; 3] = [1, 16, 64];

/// Operations a second and the 50th and 99th percentile of their times in microseconds.
struct Rate {
    per_second: f64,
    p50_us: u128,
    p99_us: u128,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    let size: Option<usize> = arguments.next().map(|text| text.parse()).transpose()?;
    let threads: Option<usize> = arguments.next().map(|text| text.parse()).transpose()?;
    let sizes = size.map_or(SIZES.to_vec(), |size| vec![size]);
    let writers = threads.map_or(WRITERS.to_vec(), |threads| vec![threads]);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "size    threads |   bare PUT/s |   PUT/s  of bare  p50 us  p99 us |    GET/s  p50 us  p99 us"
    )?;
    for size in sizes {
        for &threads in &writers {
            let dir = tempfile::tempdir_in(&parent)?;
            let bare = bare_log(&dir.path().join("bare"), size, threads, time)?;
            let store = Store::open(&dir.path().join("store"), Config::default())?;
            let bucket = BucketName::new("bench")?;
            store
                .create_bucket(&bucket, BucketSettings::default())
                .wait()?;
            let content = vec![7; size];
            let written: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
            let put = run(threads, time, |thread, turn| {
                let mut writer = store.writer(&bucket, &key(thread, turn), ObjectMeta::default());
                writer.write(&content).expect("the object is small");
                writer.finish().wait().expect("the disk works");
                written[thread].store(turn + 1, Ordering::Relaxed);
            });
            let get = run(threads, time, |thread, turn| {
                let turn = turn * 7919 % written[thread].load(Ordering::Relaxed).max(1);
                let found = store.get(&bucket, &key(thread, turn)).expect("readable");
                let mut reader = found.expect("written").read(0..u64::MAX);
                while reader.next_block().expect("whole").is_some() {}
            });
            writeln!(
                out,
                "{size:>6}  {threads:>7} | {:>12.0} | {:>8.0} {:>7.0}% {:>7} {:>7} | {:>8.0} {:>7} {:>7}",
                bare.per_second,
                put.per_second,
                100.0 * put.per_second / bare.per_second,
                put.p50_us,
                put.p99_us,
                get.per_second,
                get.p50_us,
                get.p99_us,
            )?;
        }
    }
    Ok(())
}

fn key(thread: usize, turn: u64) -> ObjectKey {
    ObjectKey::new(&format!("thread-{thread:02}/object-{turn:08}")).expect("a key")
}

/// Lets `threads` threads do `work` for `time`.
fn run(threads: usize, time: Duration, work: impl Fn(usize, u64) + Sync) -> Rate {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let mut times: Vec<u128> = thread::scope(|scope| {
        let (stop, work) = (&stop, &work);
        let worker = |thread| {
            scope.spawn(move || {
                let mut times = Vec::new();
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let begin = Instant::now();
                    work(thread, turn);
                    times.push(begin.elapsed().as_micros());
                }
                times
            })
        };
        let workers: Vec<_> = (0..threads).map(worker).collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("no panic"))
            .collect()
    });
    let elapsed = start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    let per_second = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX)) / elapsed;
    Rate {
        per_second,
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// The least that a durable store must do: one thread, one write and one fdatasync a batch.
fn bare_log(path: &Path, size: usize, threads: usize, time: Duration) -> std::io::Result<Rate> {
    let file = File::create(path)?;
    let (sender, receiver) = mpsc::sync_channel::<SyncSender<()>>(threads);
    let content = vec![7; size];
    let rate = thread::scope(|scope| {
        let (file, content) = (&file, &content);
        let log = scope.spawn(move || bare_writer(file, content, &receiver));
        let rate = run(threads, time, |_, _| {
            let (ack, acknowledged) = mpsc::sync_channel(1);
            sender.send(ack).expect("the log lives");
            acknowledged.recv().expect("the log answers");
        });
        drop(sender);
        log.join().expect("no panic").map(|()| rate)
    });
    std::fs::remove_file(path)?;
    rate
}

fn bare_writer(
    mut file: &File,
    content: &[u8],
    receiver: &Receiver<SyncSender<()>>,
) -> std::io::Result<()> {
    while let Ok(first) = receiver.recv() {
        let mut batch = vec![first];
        batch.extend(receiver.try_iter().take(63));
        let mut slices = vec![IoSlice::new(content); batch.len()];
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let written = file.write_vectored(slices)?;
            IoSlice::advance_slices(&mut slices, written);
        }
        file.sync_data()?;
        for ack in batch {
            ack.send(()).expect("the writer waits");
        }
    }
    Ok(())
}
