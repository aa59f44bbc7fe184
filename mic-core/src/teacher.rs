//! The teacher: an exponential moving average of the student's weights (MIC, sec. 3.2).

use std::collections::{HashMap, HashSet};

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Storage, Tensor, Var};

use crate::Result;
use crate::error::{config, input};

/// The teacher's momentum at a step (counted from 0): `min(1 - 1 / (step + 1), alpha)`.
///
/// Step 0 gives 0: the teacher starts as a copy of the student. While the bound `alpha` is not
/// reached, the teacher is the plain mean of the student's weights so far.
pub fn momentum(step: u64, alpha: f64) -> f64 {
    (1.0 - 1.0 / (step as f64 + 1.0)).min(alpha)
}

struct Pair {
    name: String,
    teacher: Tensor,
    student: Tensor,
}

/// Teacher weights that follow a student's: `teacher = a * teacher + (1 - a) * student`, with `a`
/// from [`momentum`].
///
/// The teacher's tensors are plain tensors, so a model built over them records no gradient graph,
/// and they are updated in place, so such a model sees every update. With candle-nn:
/// `Model::new(VarBuilder::from_tensors(teacher.tensors(), DType::F32, &device))` (with the dtype
/// and device of the weights: `VarBuilder` copies what it has to convert, and copies do not follow).
///
/// Give it parameters only. Buffers, such as the running statistics of a batch normalisation, are
/// never averaged in MIC: hand them to [`with_buffers`](Self::with_buffers) instead.
pub struct EmaTeacher {
    pairs: Vec<Pair>,
    buffers: Vec<(String, Tensor)>,
    alpha: f64,
    last_step: Option<u64>,
}

/// What has to be saved to continue a run: the teacher's tensors by name, and the last step.
#[derive(Clone, Debug)]
pub struct TeacherState {
    /// Teacher tensors (buffers included), sorted by name; they share storage with the teacher.
    pub tensors: Vec<(String, Tensor)>,
    /// The step of the last update; `None` before the first.
    pub last_step: Option<u64>,
}

impl EmaTeacher {
    /// A teacher with its own copy of the student's variables.
    ///
    /// `alpha` is the upper bound of the momentum, in \[0, 1\]; the paper uses 0.999 for
    /// segmentation and 0.9 for classification and detection. With 0 the teacher equals the
    /// student at every update.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an `alpha` out of range,
    /// [`Error::Input`](crate::Error::Input) if there are no variables or a name occurs twice.
    pub fn new(student: impl IntoIterator<Item = (String, Var)>, alpha: f64) -> Result<Self> {
        let mut pairs = Vec::new();
        for (name, var) in student {
            let student = var.as_detached_tensor();
            pairs.push((name, student.force_contiguous()?, student));
        }
        Self::over(pairs, alpha)
    }

    /// A teacher over given tensors: (name, teacher tensor, student tensor). The teacher tensors
    /// are updated in place; they keep their values until the first update.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Input`](crate::Error::Input) if shapes, dtypes or
    /// devices of a pair differ, if a teacher tensor is a variable, records gradients or is not
    /// contiguous, or if both are the same storage.
    pub fn over(pairs: Vec<(String, Tensor, Tensor)>, alpha: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&alpha) {
            return config(format!(
                "teacher alpha {alpha} is not in [0, 1]; 0.999 is usual"
            ));
        }
        if pairs.is_empty() {
            return input("the student has no parameters for a teacher to follow".into());
        }
        let mut names = HashSet::new();
        for (name, teacher, student) in &pairs {
            if !names.insert(name.as_str()) {
                return input(format!("the parameter name {name} occurs twice"));
            }
            check_pair(name, teacher, student)?;
        }
        let pairs = pairs
            .into_iter()
            .map(|(name, teacher, student)| Pair {
                name,
                teacher,
                student: student.detach(),
            })
            .collect();
        Ok(Self {
            pairs,
            buffers: Vec::new(),
            alpha,
            last_step: None,
        })
    }

    /// Adds copies of the student's buffers to what [`tensors`](Self::tensors) hands out. They are
    /// copied once, here, and never averaged.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if a buffer has the name of a parameter.
    pub fn with_buffers(
        mut self,
        buffers: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<Self> {
        for (name, buffer) in buffers {
            if self.named().any(|(known, _)| *known == name) {
                return input(format!("the buffer name {name} is already taken"));
            }
            self.buffers
                .push((name, buffer.detach().force_contiguous()?));
        }
        Ok(self)
    }

    /// The teacher's tensors by name. They share storage with the teacher, so models built over
    /// them follow its updates; they record no gradients.
    pub fn tensors(&self) -> HashMap<String, Tensor> {
        self.named()
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect()
    }

    fn named(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        let parameters = self.pairs.iter().map(|pair| (&pair.name, &pair.teacher));
        parameters.chain(self.buffers.iter().map(|(name, tensor)| (name, tensor)))
    }

    /// The bound of the momentum.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Moves the teacher towards the student and returns the momentum used. Call it at the start
    /// of training step `step` (counted from 0), before the teacher predicts: the student then
    /// holds the weights of the step before.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a tensor operation fails.
    pub fn update(&mut self, step: u64) -> Result<f64> {
        let momentum = momentum(step, self.alpha);
        self.update_with_momentum(step, momentum)?;
        Ok(momentum)
    }

    /// As [`update`](Self::update), with a momentum in \[0, 1\] of the caller's choice: 0 copies
    /// the student, 1 leaves the teacher alone. (MIC for detection uses 0 at step 0 and a constant
    /// 0.9 from then on.)
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a momentum out of range,
    /// [`Error::Tensor`](crate::Error::Tensor) if a tensor operation fails.
    pub fn update_with_momentum(&mut self, step: u64, momentum: f64) -> Result<()> {
        if !(0.0..=1.0).contains(&momentum) {
            return config(format!("teacher momentum {momentum} is not in [0, 1]"));
        }
        for Pair {
            teacher, student, ..
        } in &self.pairs
        {
            let fused = matches!(teacher.dtype(), DType::F32 | DType::F64);
            if fused && teacher.device().is_cpu() && student.is_contiguous() {
                teacher.inplace_op2(student, &Mix { momentum })?;
                continue;
            }
            let mixed = if momentum == 0.0 {
                student.force_contiguous()?
            } else {
                // Half precision cannot hold the small steps of a momentum near 1.
                let exact = if teacher.dtype() == DType::F64 {
                    DType::F64
                } else {
                    DType::F32
                };
                let keep = (teacher.to_dtype(exact)? * momentum)?;
                let take = (student.to_dtype(exact)? * (1.0 - momentum))?;
                (keep + take)?.to_dtype(teacher.dtype())?
            };
            teacher
                .flatten_all()?
                .slice_set(&mixed.flatten_all()?, 0, 0)?;
        }
        self.last_step = Some(step);
        Ok(())
    }

    /// The step of the last update; `None` before the first.
    pub fn last_step(&self) -> Option<u64> {
        self.last_step
    }

    /// What has to be saved to continue later.
    pub fn state(&self) -> TeacherState {
        let mut tensors: Vec<_> = self
            .named()
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        TeacherState {
            tensors,
            last_step: self.last_step,
        }
    }

    /// Sets tensors (in place) and last step to a saved state's. Nothing is changed on error.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if a tensor is missing, unexpected, or of another
    /// shape than the teacher's.
    pub fn restore(&mut self, state: &TeacherState) -> Result<()> {
        let saved: HashMap<&str, &Tensor> = state
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        let own: HashSet<&str> = self.named().map(|(name, _)| name.as_str()).collect();
        if let Some(name) = saved.keys().filter(|name| !own.contains(*name)).min() {
            return input(format!(
                "the saved teacher has a tensor {name} that this model lacks"
            ));
        }
        let mut ready = Vec::new();
        for (name, target) in self.named() {
            let Some(source) = saved.get(name.as_str()) else {
                return input(format!("the saved teacher lacks the tensor {name}"));
            };
            if source.shape() != target.shape() {
                return input(format!(
                    "the saved teacher's {name} has shape {:?}, this model's has {:?}",
                    source.dims(),
                    target.dims()
                ));
            }
            // A copy: the state may share its storage with this teacher.
            let source = source
                .to_device(target.device())?
                .to_dtype(target.dtype())?;
            ready.push((
                target.flatten_all()?,
                source.force_contiguous()?.flatten_all()?,
            ));
        }
        for (target, source) in ready {
            target.slice_set(&source, 0, 0)?;
        }
        self.last_step = state.last_step;
        Ok(())
    }
}

fn check_pair(name: &str, teacher: &Tensor, student: &Tensor) -> Result<()> {
    if teacher.shape() != student.shape()
        || teacher.dtype() != student.dtype()
        || !teacher.device().same_device(student.device())
    {
        return input(format!(
            "teacher and student differ for {name}: {:?} {:?} on {:?} and {:?} {:?} on {:?}",
            teacher.dims(),
            teacher.dtype(),
            teacher.device().location(),
            student.dims(),
            student.dtype(),
            student.device().location()
        ));
    }
    if !teacher.dtype().is_float() {
        return input(format!(
            "{name} is {:?}; only float tensors are averaged",
            teacher.dtype()
        ));
    }
    if teacher.track_op() {
        return input(format!(
            "the teacher tensor {name} records gradients; pass a detached copy of it"
        ));
    }
    if !teacher.is_contiguous() {
        return input(format!(
            "the teacher tensor {name} is not contiguous; copy it first"
        ));
    }
    let (teacher, _) = teacher.storage_and_layout();
    let teacher: *const Storage = &*teacher;
    let (student, _) = student.storage_and_layout();
    if std::ptr::eq(teacher, &*student) {
        return input(format!(
            "teacher and student share the storage of {name}; copy the teacher"
        ));
    }
    Ok(())
}

/// `teacher = momentum * teacher + (1 - momentum) * student`, in one pass over both.
struct Mix {
    momentum: f64,
}

impl InplaceOp2 for Mix {
    fn name(&self) -> &'static str {
        "ema-teacher"
    }

    fn cpu_fwd(
        &self,
        teacher: &mut CpuStorage,
        teacher_layout: &Layout,
        student: &CpuStorage,
        student_layout: &Layout,
    ) -> candle_core::Result<()> {
        macro_rules! mix {
            ($teacher:ident, $student:ident, $float:ty) => {{
                let count = teacher_layout.shape().elem_count();
                let teacher = &mut $teacher[teacher_layout.start_offset()..][..count];
                let student = &$student[student_layout.start_offset()..][..count];
                if self.momentum == 0.0 {
                    teacher.copy_from_slice(student);
                } else {
                    let (keep, take) = (self.momentum as $float, (1.0 - self.momentum) as $float);
                    for (teacher, student) in teacher.iter_mut().zip(student) {
                        *teacher = keep * *teacher + take * *student;
                    }
                }
                Ok(())
            }};
        }
        match (teacher, student) {
            (CpuStorage::F32(t), CpuStorage::F32(s)) => mix!(t, s, f32),
            (CpuStorage::F64(t), CpuStorage::F64(s)) => mix!(t, s, f64),
            (t, s) => candle_core::bail!(
                "ema-teacher: no update for {:?} and {:?}",
                candle_core::backend::BackendStorage::dtype(t),
                candle_core::backend::BackendStorage::dtype(s)
            ),
        }
    }
}
