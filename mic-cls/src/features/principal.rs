//! The two directions in which features vary most.

/// Passes over the data for each direction; the error shrinks by the ratio of the variances with
/// every one.
const PASSES: usize = 200;

/// Points in the plane of the two largest principal components.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Coordinates along the first and the second component, of centred data.
    pub points: Vec<[f64; 2]>,
    /// Share of the whole variance that each explains.
    pub explained: [f64; 2],
}

/// Principal components by power iteration, without the covariance matrix. `None` without points or
/// with points of different lengths. The sign of a component is such that its largest entry is
/// positive.
pub fn principal_components(values: &[Vec<f32>]) -> Option<Principal> {
    let length = values.first()?.len();
    if length == 0 || values.iter().any(|x| x.len() != length) {
        return None;
    }
    let mut centred: Vec<Vec<f64>> = values
        .iter()
        .map(|x| x.iter().map(|v| f64::from(*v)).collect())
        .collect();
    for column in 0..length {
        let mean = centred.iter().map(|x| x[column]).sum::<f64>() / values.len() as f64;
        centred.iter_mut().for_each(|x| x[column] -= mean);
    }
    let total: f64 = centred.iter().flatten().map(|v| v * v).sum();
    let mut points = vec![[0.0; 2]; values.len()];
    let mut explained = [0.0; 2];
    for component in 0..2 {
        let direction = largest_direction(&centred, component);
        for (x, point) in centred.iter_mut().zip(&mut points) {
            let along = dot(x, &direction);
            point[component] = along;
            explained[component] += along * along;
            // What is left varies in the other directions.
            for (x, d) in x.iter_mut().zip(&direction) {
                *x -= along * d;
            }
        }
        explained[component] /= total.max(f64::MIN_POSITIVE);
    }
    Some(Principal { points, explained })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The unit vector along which `centred` varies most.
fn largest_direction(centred: &[Vec<f64>], component: usize) -> Vec<f64> {
    let length = centred[0].len();
    // Some start that is hardly perpendicular to what is looked for.
    let mut direction: Vec<f64> = (0..length)
        .map(|i| ((i + 1) as f64 * (1.0 + component as f64)).sin())
        .collect();
    for _ in 0..PASSES {
        let mut next = vec![0.0; length];
        for x in centred {
            let along = dot(x, &direction);
            for (next, x) in next.iter_mut().zip(x) {
                *next += along * x;
            }
        }
        let norm = dot(&next, &next).sqrt();
        if norm == 0.0 {
            // Nothing varies any more.
            return vec![0.0; length];
        }
        direction = next.into_iter().map(|v| v / norm).collect();
    }
    let largest = direction
        .iter()
        .fold(0.0f64, |m, v| if v.abs() > m.abs() { *v } else { m });
    direction.iter().map(|v| v * largest.signum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_found_in_order_of_their_variance() {
        // Along (0.6, 0.8, 0) with amplitude 10, along (-0.8, 0.6, 0) with 3, along z with 0.1.
        let values: Vec<Vec<f32>> = (0..60)
            .map(|i| {
                let i = f64::from(i);
                let (a, b, c) = (
                    10.0 * (1.3 * i).sin(),
                    3.0 * (2.1 * i).cos(),
                    0.1 * (0.7 * i).sin(),
                );
                [0.6 * a - 0.8 * b + 5.0, 0.8 * a + 0.6 * b, c - 2.0]
                    .map(|v| v as f32)
                    .to_vec()
            })
            .collect();
        let found = principal_components(&values).unwrap();
        assert!(found.explained[0] > 0.85 && found.explained[1] > 0.05);
        assert!(found.explained.iter().sum::<f64>() > 0.999);
        // The components do not vary together.
        let covariance: f64 = found.points.iter().map(|[x, y]| x * y).sum();
        assert!(covariance.abs() < 1e-6, "{covariance}");
        // Distances survive, but for the third direction.
        let (a, b) = (&values[3], &values[40]);
        let there: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let [ax, ay] = found.points[3];
        let [bx, by] = found.points[40];
        let here = (ax - bx).powi(2) + (ay - by).powi(2);
        assert!((there - here).abs() < 0.05, "{there} {here}");
    }

    #[test]
    fn equal_points_stay_at_the_origin_and_nothing_gives_nothing() {
        let found = principal_components(&vec![vec![2.0f32, 3.0]; 4]).unwrap();
        assert!(found.points.iter().all(|p| *p == [0.0, 0.0]));
        assert!(principal_components(&[]).is_none());
        assert!(principal_components(&[vec![1.0], vec![]]).is_none());
    }
}
