//! Where the coordinates of an index tensor lie in other tensors.

use candle_core::Result;
use rayon::prelude::*;

use super::CHUNK;
use crate::ops::cpu::{Elem, Shared};

/// The coordinates of an index tensor in another contiguous tensor of the same rank.
///
/// Coordinates are (l, m, t): all before the dimension concerned, that one, and all behind it.
pub(super) struct Grid {
    /// Where coordinate `l` of the leading dimensions starts.
    lead: Vec<usize>,
    /// How far behind it coordinate `t` of the trailing dimensions lies.
    trail: Vec<usize>,
    /// Distance of neighbours in the dimension concerned.
    step: usize,
}

impl Grid {
    pub(super) fn new(dims: &[usize], index: &[usize], dim: usize) -> Self {
        let step: usize = dims[dim + 1..].iter().product();
        let lead = offsets(&dims[..dim], &index[..dim], step * dims[dim]);
        let trail = offsets(&dims[dim + 1..], &index[dim + 1..], 1);
        Self { lead, trail, step }
    }

    #[inline(always)]
    fn at(&self, l: usize, place: usize, t: usize) -> usize {
        self.lead[l] + place * self.step + self.trail[t]
    }
}

/// The offsets of all coordinates below `index` in a tensor of `dims` whose last neighbours are
/// `step` apart.
fn offsets(dims: &[usize], index: &[usize], step: usize) -> Vec<usize> {
    let mut offsets = vec![0];
    let mut distance = step * dims.iter().product::<usize>();
    for (&size, &count) in dims.iter().zip(index) {
        distance = distance.checked_div(size).unwrap_or(0);
        let next = |&start: &usize| (0..count).map(move |i| start + i * distance);
        offsets = offsets.iter().flat_map(next).collect();
    }
    offsets
}

/// The dimensions of an index have to fit those of a tensor, all but `except`.
pub(super) fn check_fits(
    op: &str,
    name: &str,
    dims: &[usize],
    index: &[usize],
    except: Option<usize>,
) -> Result<()> {
    let fits = dims.len() == index.len()
        && (0..dims.len()).all(|d| Some(d) == except || index[d] <= dims[d]);
    if !fits {
        let but = except.map_or(String::new(), |d| format!(", except in dimension {d}"));
        candle_core::bail!(
            "{op}: index is {index:?}, expected as many dimensions as {name} {dims:?} and none \
             larger{but}"
        )
    }
    Ok(())
}

/// `out[l, m, t] = x[l, places[l, m, t], t]`.
pub(super) fn read<T: Elem>(x: &[T], grid: &Grid, places: &[usize], out: &mut [T]) {
    let trail = grid.trail.len();
    if trail == 0 || grid.lead.is_empty() {
        return;
    }
    let rows = places.len() / (trail * grid.lead.len());
    let chunk = (CHUNK / trail).max(1) * trail;
    out.par_chunks_mut(chunk)
        .zip(places.par_chunks(chunk))
        .enumerate()
        .for_each(|(n, (out, places))| {
            let first = n * (chunk / trail);
            let lines = out.chunks_mut(trail).zip(places.chunks(trail));
            for (row, (out, places)) in lines.enumerate() {
                let l = (first + row) / rows;
                for (t, (o, &place)) in out.iter_mut().zip(places).enumerate() {
                    *o = x[grid.at(l, place, t)];
                }
            }
        });
}

/// Which way [`exchange`] goes.
pub(super) enum Direction<'a, T> {
    /// `target[l, place, t] += source[l, m, t]`.
    Add(&'a [T], Shared<'a, T>),
    /// `source[l, m, t] = target[l, place, t]`.
    Read(Shared<'a, T>, &'a [T]),
}

/// Adds elements of a source to, or reads them from, the places of a target that `places` names;
/// `source` and `target` are where the coordinates of `places` lie in both.
///
/// A task owns some of the coordinates (l, t), and with them elements of both tensors, whatever the
/// places.
pub(super) fn exchange<T: Elem>(
    source: &Grid,
    target: &Grid,
    places: &[usize],
    direction: &Direction<'_, T>,
) {
    let (leads, trails) = (target.lead.len(), target.trail.len());
    if leads * trails == 0 {
        return;
    }
    let rows = places.len() / (leads * trails);
    let leads_per_task = (CHUNK / (rows * trails).max(1)).max(1);
    let trails_per_task = match leads_per_task {
        1 => (CHUNK / rows.max(1)).max(1),
        _ => trails,
    };
    let across = trails.div_ceil(trails_per_task);
    let tasks = leads.div_ceil(leads_per_task) * across;
    (0..tasks).into_par_iter().for_each(|task| {
        let lead = task / across * leads_per_task;
        let trail = task % across * trails_per_task;
        for l in lead..(lead + leads_per_task).min(leads) {
            for m in 0..rows {
                for t in trail..(trail + trails_per_task).min(trails) {
                    let place = places[(l * rows + m) * trails + t];
                    let (s, d) = (source.at(l, m, t), target.at(l, place, t));
                    match direction {
                        Direction::Add(from, to) => {
                            // SAFETY: the element's coordinates l and t are this task's.
                            let to = unsafe { to.slice(d..d + 1) };
                            to[0] += from[s];
                        }
                        Direction::Read(to, from) => {
                            // SAFETY: as above.
                            let to = unsafe { to.slice(s..s + 1) };
                            to[0] = from[d];
                        }
                    }
                }
            }
        }
    });
}
