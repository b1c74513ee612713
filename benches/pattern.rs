//! How fast the stream is filled and verified, with every level of vector instructions that this processor has, from a
//! message of 64 bytes to a buffer that fills the second-level cache. Run it with `cargo bench --bench pattern`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use echo_tester::stream::{ConnId, Stream};
use echo_tester::sys::simd::Level;

const BUFFER_BYTES: [usize; 5] = [64, 1 << 10, 4 << 10, 16 << 10, 64 << 10];

fn pattern(criterion: &mut Criterion) {
    let conn = ConnId::new(7).expect("7 is below the greatest id");
    for level in Level::available() {
        let stream = Stream::with_level(1, level);
        let mut group = criterion.benchmark_group(format!("fill/{}", level.name()));
        for size in BUFFER_BYTES {
            let mut buffer = vec![0; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bench| {
                bench.iter(|| {
                    stream.fill(black_box(conn), black_box(4096), &mut buffer);
                    black_box(&mut buffer);
                });
            });
        }
        group.finish();
        let mut group = criterion.benchmark_group(format!("verify/{}", level.name()));
        for size in BUFFER_BYTES {
            let mut buffer = vec![0; size];
            stream.fill(conn, 4096, &mut buffer);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bench| {
                bench.iter(|| stream.first_mismatch(black_box(conn), black_box(4096), black_box(&buffer)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, pattern);
criterion_main!(benches);
