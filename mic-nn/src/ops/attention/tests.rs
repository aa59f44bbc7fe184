use super::*;
use crate::autograd::backward;
use crate::gradcheck::{max_relative_error, wave};
use candle_core::{D, DType, Var};

fn plain(q: &Tensor, kv: &Tensor, heads: usize) -> Result<Tensor> {
    let ((b, n, c), m) = (q.dims3()?, kv.dim(1)?);
    let split = |t: &Tensor, n: usize| {
        t.reshape((b, n, heads, c / heads))?
            .transpose(1, 2)?
            .contiguous()
    };
    let (q, k) = (split(q, n)?, split(&kv.narrow(2, 0, c)?, m)?);
    let v = split(&kv.narrow(2, c, c)?, m)?;
    let scores = (q.matmul(&k.t()?)? / ((c / heads) as f64).sqrt())?.exp()?;
    let p = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
    p.matmul(&v)?.transpose(1, 2)?.reshape((b, n, c))
}

#[test]
fn agrees_with_the_formula_in_single_precision() -> Result<()> {
    // Several tiles of queries, the last one short.
    for (b, n, m, c, heads) in [(2, 300, 200, 12, 3), (1, 5, 1, 4, 1), (3, 33, 40, 8, 8)] {
        let (q, kv) = (
            wave(&[b, n, c], 2.0, 1.37, 0.2)?,
            wave(&[b, m, 2 * c], 2.0, 0.61, 1.0)?,
        );
        let (q64, kv64) = (Var::from_tensor(&q)?, Var::from_tensor(&kv)?);
        let want = plain(&q64, &kv64, heads)?;
        let cotangent = wave(&[b, n, c], 1.0, 0.31, 0.5)?;
        let want_grads = backward(&(&want * &cotangent)?.sum_all()?)?;
        let q32 = Var::from_tensor(&q.to_dtype(DType::F32)?)?;
        let kv32 = Var::from_tensor(&kv.to_dtype(DType::F32)?)?;
        let y = attention(&q32, &kv32, heads)?;
        let grads = backward(&(&y * cotangent.to_dtype(DType::F32)?)?.sum_all()?)?;
        let error = |a: &Tensor, b: &Tensor| -> Result<f64> {
            (a.to_dtype(DType::F64)? - b)?.abs()?.max_all()?.to_scalar()
        };
        assert!(error(&y, &want)? < 1e-5);
        for (a, b) in [(&q32, &q64), (&kv32, &kv64)] {
            let (a, b) = (grads.get(a).unwrap(), want_grads.get(b).unwrap());
            assert!(error(a, b)? < 3e-5, "{}", error(a, b)?);
        }
    }
    Ok(())
}

#[test]
fn gradients_match_differences() -> Result<()> {
    let all = [
        wave(&[2, 7, 6], 1.0, 1.37, 0.2)?,
        wave(&[2, 5, 12], 1.0, 0.61, 1.0)?,
    ];
    for heads in [1, 2, 3] {
        let error = max_relative_error(&all, 120, |t| attention(&t[0], &t[1], heads))?;
        assert!(error < 1e-6, "{error}");
        let error = max_relative_error(&all[..1], 84, |t| attention(&t[0], &all[1], heads))?;
        assert!(error < 1e-6, "{error}");
        let error = max_relative_error(&all[1..], 120, |t| attention(&all[0], &t[0], heads))?;
        assert!(error < 1e-6, "{error}");
    }
    Ok(())
}

#[test]
fn views_and_large_scores_work() -> Result<()> {
    let q = (wave(&[6, 7, 2], 30.0, 1.37, 0.2)?)
        .t()?
        .transpose(0, 2)?
        .transpose(1, 2)?;
    let q = q.contiguous()?.reshape((2, 7, 6))?;
    let kv = wave(&[2, 12, 5], 30.0, 0.61, 1.0)?.transpose(1, 2)?;
    let y = attention(&q.to_dtype(DType::F32)?, &kv.to_dtype(DType::F32)?, 2)?;
    let want = attention(&q, &kv.contiguous()?, 2)?;
    let error = (y.to_dtype(DType::F64)? - want)?
        .abs()?
        .max_all()?
        .to_scalar::<f64>()?;
    assert!(error < 1e-3, "{error}");
    Ok(())
}

#[test]
fn misuse_is_named() -> Result<()> {
    let (q, kv) = (
        wave(&[2, 3, 4], 1.0, 1.0, 0.0)?,
        wave(&[2, 3, 8], 1.0, 1.0, 0.0)?,
    );
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message(attention(&q, &q, 2)).contains("kv (B, M, 2 C)"));
    assert!(message(attention(&q, &kv, 3)).contains("4 channels cannot be split into 3 heads"));
    let empty = Tensor::zeros((2, 0, 4), DType::F64, q.device())?;
    assert_eq!(attention(&empty, &kv, 2)?.dims(), [2, 0, 4]);
    Ok(())
}

#[test]
fn self_attention_on_one_tensor_equals_that_on_two() -> Result<()> {
    // Several tiles, several blocks of terms, and short ones.
    for (b, n, c, heads) in [(2, 300, 24, 3), (1, 5, 4, 1), (3, 33, 128, 2)] {
        let qkv = wave(&[b, n, 3 * c], 2.0, 1.37, 0.2)?;
        let cotangent = wave(&[b, n, c], 1.0, 0.31, 0.5)?;
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 3e-5)] {
            let var = Var::from_tensor(&qkv.to_dtype(dtype)?)?;
            let y = attention_qkv(&var, heads)?;
            let grads = backward(&(&y * cotangent.to_dtype(dtype)?)?.sum_all()?)?;
            let two = Var::from_tensor(&qkv)?;
            let (q, kv) = (two.narrow(2, 0, c)?, two.narrow(2, c, 2 * c)?);
            let want = attention(&q, &kv, heads)?;
            let want_grads = backward(&(&want * &cotangent)?.sum_all()?)?;
            let error = |a: &Tensor, b: &Tensor| -> Result<f64> {
                (a.to_dtype(DType::F64)? - b)?.abs()?.max_all()?.to_scalar()
            };
            assert!(error(&y, &want)? < tolerance);
            let error = error(grads.get(&var).unwrap(), want_grads.get(&two).unwrap())?;
            assert!(error < tolerance, "{error}");
        }
    }
    let small = [wave(&[2, 7, 18], 1.0, 1.37, 0.2)?];
    let error = max_relative_error(&small, 120, |t| attention_qkv(&t[0], 3))?;
    assert!(error < 1e-6, "{error}");
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let odd = wave(&[2, 3, 4], 1.0, 1.0, 0.0)?;
    assert!(message(attention_qkv(&odd, 1)).contains("qkv (B, N, 3 C)"));
    assert!(message(attention_qkv(&small[0], 4)).contains("6 channels cannot be split into 4"));
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let qkv = wave(&[1, 700, 192], 2.0, 1.37, 0.2)?.to_dtype(DType::F32)?;
    let run = |threads: usize| -> Result<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(candle_core::Error::wrap)?.install(|| {
            let var = Var::from_tensor(&qkv)?;
            let y = attention_qkv(&var, 1)?;
            let grads = backward(&y.sqr()?.sum_all()?)?;
            let gradient = grads.get(&var).unwrap().flatten_all()?;
            Tensor::cat(&[y.detach().flatten_all()?, gradient], 0)?.to_vec1()
        })
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}
