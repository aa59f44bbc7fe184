//! Parameters with their settings and memory: what all optimisers share.

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Device, Result, Tensor, Var};

use super::sweep::{Job, Kernel, sweep};
use super::{Grads, GroupRules, ParamGroup};

struct Param {
    var: Var,
    group: ParamGroup,
    /// (N, elements), zeros before the first step; absent until the first gradient.
    memory: Option<Tensor>,
    /// Steps taken.
    steps: u64,
}

/// The numbers of one parameter's step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// Learning rate of this iteration.
    pub(super) lr: f64,
    /// Weight decay.
    pub(super) weight_decay: f64,
    /// Which step of this parameter it is, from 1.
    pub(super) step: u64,
}

/// The parameters of an optimiser that remembers `N` numbers for each element, all 0 before the
/// first step.
pub(super) struct Engine<const N: usize> {
    op: &'static str,
    parts: [&'static str; N],
    params: Vec<Param>,
}

/// The part of a state key under which the number of steps is saved.
const STEP: &str = "step";

impl<const N: usize> Engine<N> {
    /// `parts` name what is remembered, in saved states.
    pub(super) fn new(
        op: &'static str,
        parts: [&'static str; N],
        parameters: &[(String, Var)],
        rules: &GroupRules,
    ) -> Self {
        let params = parameters.iter().map(|(name, var)| Param {
            var: var.clone(),
            group: rules.group(name),
            memory: None,
            steps: 0,
        });
        Self {
            op,
            parts,
            params: params.collect(),
        }
    }

    /// Runs `kernel` on every parameter that has a gradient. Nothing is changed when a gradient
    /// does not fit.
    pub(super) fn step<K: Kernel<N> + Send>(
        &mut self,
        grads: &Grads,
        lr: &dyn Fn(f64) -> f64,
        kernel: impl Fn(Numbers) -> K,
    ) -> Result<()> {
        let mut active = Vec::with_capacity(self.params.len());
        for param in &mut self.params {
            if let Some(grad) = gradient(self.op, grads, &param.group.name, &param.var)? {
                active.push((param, grad));
            }
        }
        let mut jobs = Vec::with_capacity(active.len());
        for (param, grad) in active {
            if N > 0 && param.memory.is_none() {
                let (shape, var) = ((N, param.var.elem_count()), &param.var);
                param.memory = Some(Tensor::zeros(shape, var.dtype(), var.device())?);
            }
            param.steps += 1;
            jobs.push(Job {
                param: &param.var,
                memory: param.memory.as_ref(),
                input: grad,
                kernel: kernel(Numbers {
                    lr: lr(param.group.lr),
                    weight_decay: param.group.weight_decay,
                    step: param.steps,
                }),
            });
        }
        sweep(self.op, &jobs)
    }

    /// The settings in the parameters' order.
    pub(super) fn groups(&self) -> Vec<&ParamGroup> {
        self.params.iter().map(|p| &p.group).collect()
    }

    fn key(&self, param: &Param, part: &str) -> String {
        format!("{}.{part}", param.group.name)
    }

    /// For each parameter that has memory: every part shaped like it, and the number of steps.
    pub(super) fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for param in &self.params {
            let Some(memory) = &param.memory else {
                continue;
            };
            for (k, part) in self.parts.iter().enumerate() {
                let value = memory.get(k)?.reshape(param.var.shape())?.copy()?;
                state.push((self.key(param, part), value));
            }
            let steps = Tensor::new(param.steps as i64, &Device::Cpu)?;
            state.push((self.key(param, STEP), steps));
        }
        Ok(state)
    }

    /// Takes back what [`Engine::state`] returned. Nothing is changed on an error.
    pub(super) fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let mut used = HashSet::new();
        let mut loaded = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let keys: Vec<String> = self.parts.iter().map(|p| self.key(param, p)).collect();
            let step = self.key(param, STEP);
            if N == 0 || !state.contains_key(&step) && !state.contains_key(&keys[0]) {
                loaded.push((None, 0));
                continue;
            }
            let parts = keys.iter().map(|key| self.stored(state, key, &param.var));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            loaded.push((Some(Tensor::stack(&parts, 0)?), self.steps(state, &step)?));
            used.extend(keys);
            used.insert(step);
        }
        let mut unknown: Vec<&String> = state.keys().filter(|k| !used.contains(*k)).collect();
        unknown.sort();
        if let Some(key) = unknown.first() {
            candle_core::bail!(
                "{}: {} saved entries belong to no parameter, among them {key}",
                self.op,
                unknown.len()
            )
        }
        for (param, (memory, steps)) in self.params.iter_mut().zip(loaded) {
            (param.memory, param.steps) = (memory, steps);
        }
        Ok(())
    }

    /// A saved part, flat, which must fit its parameter.
    fn stored(&self, state: &HashMap<String, Tensor>, key: &str, var: &Var) -> Result<Tensor> {
        let Some(value) = state.get(key) else {
            candle_core::bail!("{}: the saved state lacks {key}", self.op)
        };
        if value.dims() != var.dims() || value.dtype() != var.dtype() {
            candle_core::bail!(
                "{}: the saved {key} is {:?} {:?}, expected {:?} {:?}",
                self.op,
                value.dims(),
                value.dtype(),
                var.dims(),
                var.dtype()
            )
        }
        value.to_device(var.device())?.flatten_all()
    }

    fn steps(&self, state: &HashMap<String, Tensor>, key: &str) -> Result<u64> {
        let Some(value) = state.get(key) else {
            candle_core::bail!("{}: the saved state lacks {key}", self.op)
        };
        let value = match value.elem_count() {
            1 => value
                .flatten_all()?
                .to_dtype(DType::I64)?
                .to_vec1::<i64>()?,
            _ => Vec::new(),
        };
        match value[..] {
            [steps] if steps > 0 => Ok(steps as u64),
            _ => candle_core::bail!("{}: the saved {key} is no positive whole number", self.op),
        }
    }
}

/// The gradient of a parameter, checked.
pub(super) fn gradient<'a>(
    op: &str,
    grads: &'a Grads,
    name: &str,
    var: &Var,
) -> Result<Option<&'a Tensor>> {
    let Some(grad) = grads.get(name) else {
        return Ok(None);
    };
    if grad.dims() != var.dims() || grad.dtype() != var.dtype() {
        candle_core::bail!(
            "{op}: the gradient of {name} is {:?} {:?}, the parameter {:?} {:?}",
            grad.dims(),
            grad.dtype(),
            var.dims(),
            var.dtype()
        )
    }
    if !var.is_contiguous() {
        candle_core::bail!(
            "{op}: the parameter {name} is not contiguous (strides {:?}); make the variable from \
             a contiguous tensor",
            var.stride()
        )
    }
    Ok(Some(grad))
}
