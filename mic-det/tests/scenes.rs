//! The built-in scenes as sets of a run.

use mic_det::config::Config;
use mic_det::sets::Sets;

const FILE: &str = include_str!("../../configs/det/miniature.toml");

fn config(sets: &[&str]) -> mic_det::Result<Config> {
    let small = [
        "data.source.count=3",
        "data.target.count=2",
        "data.test.count=2",
    ];
    let sets: Vec<String> = small.iter().chain(sets).map(|s| (*s).to_owned()).collect();
    Config::from_toml_str(FILE, "miniature.toml", &sets)
}

#[test]
fn source_is_clear_and_target_is_foggy() {
    let sets = Sets::open(&config(&[]).unwrap()).unwrap();
    let (target, test) = (sets.target.unwrap(), sets.test.unwrap());
    assert_eq!((sets.source.len(), target.len(), test.len()), (3, 2, 2));
    assert_eq!(sets.source.name(0), "source_train_000000");
    assert_eq!(target.get(0).unwrap().name, "foggy_source_train_000000");
    assert_eq!(test.name(1), "foggy_source_test_000001");
    assert_eq!(sets.source.class_names()[2], "car");
    assert_eq!(test.class_names(), sets.source.class_names());
    assert_eq!(sets.source.size(0), (256, 128));
    // Seeds of the sets are apart: the target's scenes are others.
    let same = Sets::open(&config(&["data.target.scene_seed=0"]).unwrap()).unwrap();
    let pixels = |set: &Sets| set.target.as_ref().unwrap().get(0).unwrap().image;
    assert_ne!(pixels(&same), target.get(0).unwrap().image);
}

#[test]
fn an_oracle_trains_on_the_foggy_scenes() {
    let sets = Sets::open(&config(&["method.kind=oracle", "mask="]).unwrap()).unwrap();
    assert_eq!(sets.source.name(0), "foggy_source_train_000000");
    assert!(!sets.source.objects(0).is_empty() || !sets.source.objects(1).is_empty());
}

#[test]
fn wrong_scenes_are_named_by_their_key() {
    for (set, part) in [
        ("data.target.fog=7", "data.target.fog"),
        ("data.source.count=0", "data.source.count"),
        ("data.test.size=[10, 10]", "data.test.size"),
        ("data.test.split=\"day\"", "data.test.split"),
    ] {
        let error = config(&[set]).unwrap_err();
        assert!(matches!(error, mic_det::Error::Config(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}
