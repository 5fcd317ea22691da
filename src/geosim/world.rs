//! A map of the world for tiles of web maps: coastlines, so that a person sees a map and not only
//! a tint.
//!
//! The coastlines are those of Natural Earth at 1:110 million (public domain), rounded to a
//! hundredth of a degree: a ring a line, `longitude,latitude` in hundredths of a degree.

const COASTLINES: &str = include_str!("world.txt");

/// Mercator ends here; so does the square of web maps.
const MAX_LATITUDE: f64 = 85.051_128_779_806_6;
/// Rows of samples in one row of pixels.
const SAMPLES: usize = 4;

/// A line of a coast in the square of web maps: x to the east, y to the south, both from 0 to 1.
#[derive(Clone, Copy, Debug)]
struct Edge {
    from: (f64, f64),
    to: (f64, f64),
}

/// The land of the world.
#[derive(Debug)]
pub(super) struct World {
    edges: Vec<Edge>,
}

impl World {
    pub(super) fn new() -> Self {
        let edges = COASTLINES.lines().flat_map(edges_of).collect();
        Self { edges }
    }

    /// Returns the share of land in each pixel of a square tile, from 0 to 1, row by row from the
    /// north. `side` is the width of the tile in pixels.
    pub(super) fn land(&self, zoom: u32, column: u32, row: u32, side: usize) -> Vec<f32> {
        let tiles = f64::from(zoom).exp2();
        let scale = tiles * side as f64;
        let (left, top) = (
            f64::from(column) * side as f64,
            f64::from(row) * side as f64,
        );
        let near: Vec<Edge> = self
            .edges
            .iter()
            .map(|edge| edge.seen_from(left, top, scale))
            .filter(|edge| edge.is_between(0.0, side as f64))
            .collect();
        let mut land = vec![0.0; side * side];
        let (mut here, mut crossings): (Vec<Edge>, Vec<f64>) = (Vec::new(), Vec::new());
        for (row, pixels) in land.chunks_exact_mut(side).enumerate() {
            here.clear();
            let (upper, lower) = (row as f64, (row + 1) as f64);
            here.extend(near.iter().filter(|edge| edge.is_between(upper, lower)));
            for sample in 0..SAMPLES {
                let y = upper + (sample as f64 + 0.5) / SAMPLES as f64;
                crossings.clear();
                crossings.extend(here.iter().filter_map(|edge| edge.crossing(y)));
                crossings.sort_unstable_by(f64::total_cmp);
                for span in crossings.chunks_exact(2) {
                    cover(pixels, span[0], span[1]);
                }
            }
        }
        land
    }
}

/// Adds one row of samples from `from` to `to` to a row of pixels.
fn cover(pixels: &mut [f32], from: f64, to: f64) {
    let (from, to) = (from.max(0.0), to.min(pixels.len() as f64));
    if from >= to {
        return;
    }
    let last = (to.ceil() as usize).min(pixels.len());
    for (x, pixel) in pixels[..last].iter_mut().enumerate().skip(from as usize) {
        let covered = to.min(x as f64 + 1.0) - from.max(x as f64);
        *pixel += covered as f32 / SAMPLES as f32;
    }
}

impl Edge {
    /// Returns the edge in pixels of a tile that has its corner at `left` and `top`.
    fn seen_from(self, left: f64, top: f64, scale: f64) -> Self {
        let place = |(x, y): (f64, f64)| (x * scale - left, y * scale - top);
        Self {
            from: place(self.from),
            to: place(self.to),
        }
    }

    /// True if a part of it is between two lines.
    fn is_between(self, upper: f64, lower: f64) -> bool {
        let (north, south) = (self.from.1.min(self.to.1), self.from.1.max(self.to.1));
        north < lower && south >= upper
    }

    /// Where it crosses the line at `y`. An end on the line counts for one of two edges that meet.
    fn crossing(self, y: f64) -> Option<f64> {
        let ((x0, y0), (x1, y1)) = (self.from, self.to);
        ((y0 <= y) != (y1 <= y)).then(|| x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    }
}

/// The edges of a ring, which is closed.
fn edges_of(ring: &str) -> Vec<Edge> {
    let points: Vec<(f64, f64)> = ring.split(' ').filter_map(projected).collect();
    let next = points.iter().cycle().skip(1);
    points
        .iter()
        .zip(next)
        .map(|(from, to)| Edge {
            from: *from,
            to: *to,
        })
        .collect()
}

fn projected(point: &str) -> Option<(f64, f64)> {
    let (longitude, latitude) = point.split_once(',')?;
    let degrees = |text: &str| {
        text.parse::<f64>()
            .ok()
            .map(|hundredths| hundredths / 100.0)
    };
    let latitude = degrees(latitude)?.clamp(-MAX_LATITUDE, MAX_LATITUDE);
    let stretched = latitude.to_radians().tan().asinh() / std::f64::consts::TAU;
    Some((degrees(longitude)? / 360.0 + 0.5, 0.5 - stretched))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of land at a place, on a tile of one pixel a degree or so.
    fn land_at(longitude: i32, latitude: i32) -> f32 {
        let (x, y) = projected(&format!("{}00,{}00", longitude, latitude)).unwrap();
        let side = 512;
        let land = World::new().land(0, 0, 0, side);
        land[(y * side as f64) as usize * side + (x * side as f64) as usize]
    }

    #[test]
    fn continents_are_land_and_oceans_are_not() {
        for (longitude, latitude) in [(2, 47), (-100, 40), (25, 0), (135, -25), (100, 60)] {
            assert!(land_at(longitude, latitude) > 0.9, "{longitude} {latitude}");
        }
        for (longitude, latitude) in [(-30, 30), (-140, 0), (80, -30), (5, 57)] {
            assert!(land_at(longitude, latitude) < 0.1, "{longitude} {latitude}");
        }
    }

    #[test]
    fn a_tile_continues_its_neighbour() {
        let world = World::new();
        let whole = world.land(1, 0, 0, 64);
        let quarter = world.land(2, 1, 1, 64);
        for (x, y) in [(32, 32), (40, 50), (60, 40)] {
            let (inside, outside) = (quarter[(y - 32) * 2 * 64 + (x - 32) * 2], whole[y * 64 + x]);
            assert!(
                (inside - outside).abs() < 0.6,
                "{x} {y}: {inside} {outside}"
            );
        }
    }
}
