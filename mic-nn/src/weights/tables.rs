//! Rename tables from other libraries' published checkpoints to the names used here.
//!
//! torchvision's ResNets, timm's ViTs and the MiT checkpoints of SegFormer's authors have these
//! names already: for them no table is needed. Classifiers keep their names (`fc`, `head`), and a
//! backbone reports them as unexpected.

use super::Rename;

/// SegFormer of `transformers` (nvidia/mit-b0 to b5 and nvidia/segformer-*) to
/// [`Mit`](crate::models::mit::Mit). Keys and values are one product here. The classifier and the
/// decoder are left out.
///
/// Names as in `transformers`, models/segformer/modeling_segformer.py.
pub fn hugging_face_segformer() -> Rename {
    // The encoder's own file begins without `segformer.`.
    let encoder = ["segformer.encoder.", "encoder."].map(encoder_of);
    let [whole, alone] = encoder;
    whole.then(alone).drop("decode_head.*").drop("classifier.*")
}

fn encoder_of(prefix: &str) -> Rename {
    let from = |rest: &str| format!("{prefix}{rest}");
    let mut table = Rename::new();
    for (theirs, ours) in [
        ("patch_embeddings.{s}.proj.*", "patch_embed{s+1}.proj.*"),
        (
            "patch_embeddings.{s}.layer_norm.*",
            "patch_embed{s+1}.norm.*",
        ),
        ("layer_norm.{s}.*", "norm{s+1}.*"),
        ("block.{s}.{b}.layer_norm_1.*", "block{s+1}.{b}.norm1.*"),
        ("block.{s}.{b}.layer_norm_2.*", "block{s+1}.{b}.norm2.*"),
        (
            "block.{s}.{b}.attention.self.query.*",
            "block{s+1}.{b}.attn.q.*",
        ),
        (
            "block.{s}.{b}.attention.self.sr.*",
            "block{s+1}.{b}.attn.sr.*",
        ),
        (
            "block.{s}.{b}.attention.self.layer_norm.*",
            "block{s+1}.{b}.attn.norm.*",
        ),
        (
            "block.{s}.{b}.attention.output.dense.*",
            "block{s+1}.{b}.attn.proj.*",
        ),
        ("block.{s}.{b}.mlp.dense1.*", "block{s+1}.{b}.mlp.fc1.*"),
        ("block.{s}.{b}.mlp.dwconv.*", "block{s+1}.{b}.mlp.dwconv.*"),
        ("block.{s}.{b}.mlp.dense2.*", "block{s+1}.{b}.mlp.fc2.*"),
    ] {
        table = table.to(&from(theirs), ours);
    }
    let key = from("block.{s}.{b}.attention.self.key.*");
    let value = from("block.{s}.{b}.attention.self.value.*");
    table.join(&[&key, &value], "block{s+1}.{b}.attn.kv.*")
}

/// MiT of MMSegmentation 0.20 and later (`MixVisionTransformer`) to
/// [`Mit`](crate::models::mit::Mit). Queries, keys and values are one matrix there, and the
/// feed-forward network's products are 1x1 convolutions.
///
/// The names are those that MMSegmentation's tools/model_converters/mit2mmseg.py makes from the
/// authors'.
pub fn mmsegmentation_mit() -> Rename {
    let mut table = Rename::new();
    for parameter in ["weight", "bias"] {
        let part = |name: &str| format!("block{{s+1}}.{{b}}.attn.{name}.{parameter}");
        table = table
            .split(
                &format!("layers.{{s}}.1.{{b}}.attn.attn.in_proj_{parameter}"),
                &[(&part("q"), 1), (&part("kv"), 2)],
            )
            .squeeze(
                &format!("layers.{{s}}.1.{{b}}.ffn.layers.0.{parameter}"),
                &format!("block{{s+1}}.{{b}}.mlp.fc1.{parameter}"),
            )
            .squeeze(
                &format!("layers.{{s}}.1.{{b}}.ffn.layers.4.{parameter}"),
                &format!("block{{s+1}}.{{b}}.mlp.fc2.{parameter}"),
            );
    }
    table
        .to("layers.{s}.0.projection.*", "patch_embed{s+1}.proj.*")
        .to("layers.{s}.0.norm.*", "patch_embed{s+1}.norm.*")
        .to("layers.{s}.1.{b}.norm1.*", "block{s+1}.{b}.norm1.*")
        .to("layers.{s}.1.{b}.norm2.*", "block{s+1}.{b}.norm2.*")
        .to(
            "layers.{s}.1.{b}.attn.attn.out_proj.*",
            "block{s+1}.{b}.attn.proj.*",
        )
        .to("layers.{s}.1.{b}.attn.sr.*", "block{s+1}.{b}.attn.sr.*")
        .to("layers.{s}.1.{b}.attn.norm.*", "block{s+1}.{b}.attn.norm.*")
        .to(
            "layers.{s}.1.{b}.ffn.layers.1.*",
            "block{s+1}.{b}.mlp.dwconv.dwconv.*",
        )
        .to("layers.{s}.2.*", "norm{s+1}.*")
}

/// ViT of `transformers` (google/vit-*) to [`Vit`](crate::models::vit::Vit). Queries, keys and
/// values are one product here. The pooler is left out.
///
/// Names as in `transformers`, models/vit/modeling_vit.py.
pub fn hugging_face_vit() -> Rename {
    let mut table = Rename::new();
    // A network without classifier is saved without `vit.`.
    for prefix in ["vit.", ""] {
        let from = |rest: &str| format!("{prefix}{rest}");
        for (theirs, ours) in [
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.position_embeddings", "pos_embed"),
            (
                "embeddings.patch_embeddings.projection.*",
                "patch_embed.proj.*",
            ),
            ("encoder.layer.{b}.layernorm_before.*", "blocks.{b}.norm1.*"),
            ("encoder.layer.{b}.layernorm_after.*", "blocks.{b}.norm2.*"),
            (
                "encoder.layer.{b}.attention.output.dense.*",
                "blocks.{b}.attn.proj.*",
            ),
            (
                "encoder.layer.{b}.intermediate.dense.*",
                "blocks.{b}.mlp.fc1.*",
            ),
            ("encoder.layer.{b}.output.dense.*", "blocks.{b}.mlp.fc2.*"),
            ("layernorm.*", "norm.*"),
        ] {
            table = table.to(&from(theirs), ours);
        }
        let parts = ["query", "key", "value"]
            .map(|part| from(&format!("encoder.layer.{{b}}.attention.attention.{part}.*")));
        let parts = parts.each_ref().map(String::as_str);
        table = table
            .join(&parts, "blocks.{b}.attn.qkv.*")
            .drop(&from("pooler.*"));
    }
    table.to("classifier.*", "head.*")
}

/// DINOv2 of `torch.hub` (facebookresearch/dinov2) to timm's names, which the ViTs here have: the
/// same, but for the registers, for the token of masked patches, which only pre-training uses, and
/// for blocks in chunks, as in training checkpoints. For the latter, take the teacher's backbone
/// first: `weights.below("backbone.")`. Load networks with registers with
/// [`vit::load`](crate::models::vit::load).
pub fn dinov2() -> Rename {
    Rename::new()
        .drop("mask_token")
        .drop("dino_head.*")
        .drop("ibot_head.*")
        .to("register_tokens", "reg_token")
        .to("blocks.{c}.{b}.*", "blocks.{b}.*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dinov2_chunks_and_wholes() {
        let table = dinov2();
        let name = |name: &str| table.name(name);
        assert_eq!(
            name("blocks.3.attn.qkv.weight").as_deref(),
            Some("blocks.3.attn.qkv.weight")
        );
        assert_eq!(
            name("blocks.1.7.ls1.gamma").as_deref(),
            Some("blocks.7.ls1.gamma")
        );
        assert_eq!(name("mask_token"), None);
        assert_eq!(name("register_tokens").as_deref(), Some("reg_token"));
        assert_eq!(name("cls_token").as_deref(), Some("cls_token"));
    }
}
