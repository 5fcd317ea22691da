//! The cost of checking the head of a request, the first step for each one. The aim is under 1 % of
//! a request.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use geofront::http1::{HeadLimits, HeadReader};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 65_536,
    max_fields: 200,
};

/// A browser's request for a tile.
const BROWSER: &str = "GET /geoserver/gwc/service/wmts?layer=geor%3Aroads&style=&tilematrixset=EPSG%3A900913&Service=WMTS\
    &Request=GetTile&Version=1.0.0&Format=image%2Fpng&TileMatrix=EPSG%3A900913%3A10&TileCol=512&TileRow=340 HTTP/1.1\r\n\
    Host: maps.example.org\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 \
    Firefox/128.0\r\nAccept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\nAccept-Language: en-GB,en;q=0.7\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://maps.example.org/viewer/\r\nCookie: JSESSIONID=0123456789ABCDEF; \
    lang=en\r\nSec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\nPriority: u=5, i\r\n\r\n";

/// A program's.
const SHORT: &str = "GET /geoserver/wms?service=WMS&version=1.1.1&request=GetMap HTTP/1.1\r\nHost: maps.example.org\r\n\r\n";

fn head(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    for (name, request) in [("a browser's", BROWSER), ("a short one", SHORT)] {
        group.throughput(Throughput::Bytes(request.len() as u64));
        let read = || HeadReader::default().read(black_box(request.as_bytes()), &LIMITS);
        group.bench_function(name, |bencher| bencher.iter(read));
    }
    group.finish();
}

criterion_group!(benches, head);
criterion_main!(benches);
