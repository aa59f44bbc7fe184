//! Features as points of the plane.

use bhtsne::tSNE;

use super::principal::principal_components;
use crate::{Error, Result};

/// Accuracy of the Barnes-Hut approximation, as usual.
const THETA: f64 = 0.5;

/// Spread of the points that t-SNE starts from, as usual.
const START: f64 = 1e-4;

/// How features become points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Embedding {
    /// t-distributed stochastic neighbour embedding, started from the principal components.
    TSne {
        /// How many neighbours count, about: above 1.
        perplexity: f64,
        /// Iterations.
        iterations: usize,
    },
    /// The two largest principal components.
    Principal,
}

/// A point for each of the features.
///
/// # Errors
/// No features, features of different lengths, or fewer than t-SNE with this perplexity needs.
pub fn embed(values: &[Vec<f32>], embedding: Embedding) -> Result<Vec<[f64; 2]>> {
    let principal = principal_components(values);
    let principal =
        principal.ok_or_else(|| Error::Run("there are no features of one length".into()))?;
    let Embedding::TSne {
        perplexity,
        iterations,
    } = embedding
    else {
        return Ok(principal.points);
    };
    let needed = (3.0 * perplexity).ceil() as usize + 2;
    if perplexity < 1.0 || values.len() < needed {
        return Err(Error::Config(format!(
            "--perplexity {perplexity}: expected a number from 1 on and at least three times as \
             many images, and there are {}; use --embedding pca for few images",
            values.len()
        )));
    }
    let spread: f64 = principal.points.iter().map(|[x, _]| x * x).sum();
    let spread = (spread / values.len() as f64).sqrt().max(f64::MIN_POSITIVE);
    let start = principal.points.iter().flatten();
    let start: Vec<f64> = start.map(|v| v / spread * START).collect();
    let rows: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
    let mut tsne: tSNE<f64, &[f32]> = tSNE::new(&rows);
    tsne.perplexity(perplexity)
        .epochs(iterations)
        .initial_embedding(start)
        .barnes_hut(THETA, |a, b| {
            let squares = a.iter().zip(*b).map(|(a, b)| f64::from(a - b).powi(2));
            squares.sum::<f64>().sqrt()
        });
    let embedded = tsne.embedding();
    Ok(embedded.chunks_exact(2).map(|p| [p[0], p[1]]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clouds in eight dimensions.
    fn clouds() -> Vec<Vec<f32>> {
        (0..60)
            .map(|i| {
                let centre = if i < 30 { 0.0 } else { 20.0 };
                (0..8)
                    .map(|j| centre + ((i * 13 + j * 7) as f32).sin())
                    .collect()
            })
            .collect()
    }

    fn mean(points: &[[f64; 2]]) -> [f64; 2] {
        let sum = points
            .iter()
            .fold([0.0; 2], |m, p| [m[0] + p[0], m[1] + p[1]]);
        sum.map(|v| v / points.len() as f64)
    }

    #[test]
    fn clouds_stay_apart() {
        let tsne = Embedding::TSne {
            perplexity: 10.0,
            iterations: 500,
        };
        for embedding in [tsne, Embedding::Principal] {
            let points = embed(&clouds(), embedding).unwrap();
            let (a, b) = (mean(&points[..30]), mean(&points[30..]));
            let near = |p: &[f64; 2], c: [f64; 2]| (p[0] - c[0]).hypot(p[1] - c[1]);
            let right = points.iter().enumerate().filter(|(i, p)| {
                let first = near(p, a) < near(p, b);
                first == (*i < 30)
            });
            assert_eq!(right.count(), 60, "{embedding:?}");
        }
    }

    #[test]
    fn too_few_images_for_the_perplexity_are_refused() {
        let tsne = Embedding::TSne {
            perplexity: 30.0,
            iterations: 10,
        };
        let error = embed(&clouds(), tsne).unwrap_err().to_string();
        assert!(error.contains("--perplexity 30"), "{error}");
        assert!(embed(&[], Embedding::Principal).is_err());
    }
}
