# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.hooks import HookRegistry, ModelHook
from peft import LoraConfig
from speed_cases import BLOCKS, LATENTS, Count, ask, small_vace, small_wan
from torch._dynamo.utils import counters

from benchmarks.switches import compare_switches, table, wan_velocity
from ex4d.generate.diffusion.speed.apply import apply_speed, begin_window, check_speed, remove_speed
from ex4d.generate.diffusion.speed.compile import compiled_bodies
from ex4d.generate.diffusion.speed.settings import Speed
from shared_protocol.errors import UNAVAILABLE, UNSUPPORTED, Ex4dError

CPU = torch.device("cpu")
FAST = Speed(compile=True, attention="auto", cache="auto")


def backends(transformer: torch.nn.Module) -> set[str]:
    processors = (getattr(module, "processor", None) for module in transformer.modules())
    return {processor._attention_backend.value for processor in processors if processor is not None}


def test_every_switch_takes_effect_and_states_its_deviation() -> None:
    transformer = small_wan()
    transformer.add_adapter(
        LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "net.2"], init_lora_weights=False), "ex4d"
    )
    plain = transformer.blocks[0].attn1.to_q.base_layer.weight.clone()
    rows = compare_switches(
        transformer,
        wan_velocity(transformer, CPU, LATENTS),
        LATENTS,
        CPU,
        steps=10,
        cfg=5.0,
        backend="eager",
    )
    by_name = {row.switch: row for row in rows}
    for name in ("batched_cfg", "attention auto", "attention math", "compile", "fuse_loras"):
        assert by_name[name].deviation < 1e-5, name
    for name in ("cache first-block", "cache taylor", "fast"):
        assert 1e-5 < by_name[name].deviation < 0.1, name
    assert by_name["exact"].computed == by_name["batched_cfg"].computed == 1.0
    assert by_name["cache taylor"].computed == 0.6  # 6 of 10 steps
    assert by_name["cache first-block"].computed < 0.95
    assert by_name["attention math"].effect["attention"] == "_native_math"
    assert by_name["compile"].effect["compile"]
    assert by_name["fast"].effect["compile"]
    assert by_name["fast"].effect["cache"] == "first-block"
    assert not any(row.effect["notes"] for row in rows)
    assert not by_name["exact"].effect["deviations"]
    assert set(by_name["fast"].effect["deviations"]) == {"compile", "first-block"}
    assert all(row.effect["deviations"] for row in rows if row.switch not in ("exact", "attention auto"))
    assert len(table(rows).splitlines()) == 2 + len(rows)
    fused = transformer.blocks[0].attn1.to_q
    assert type(fused) is torch.nn.Linear
    assert not torch.equal(fused.weight, plain)


def test_exact_is_the_native_attention_whatever_was_used_before() -> None:
    first, second = small_wan(), small_wan()
    apply_speed(first, Speed(attention="math"), 4)
    assert backends(first) == {"_native_math"}
    assert apply_speed(second, Speed(), 4)["attention"] == "native"
    assert backends(second) == {"native"}
    remove_speed(first)
    assert backends(first) == {"native"}


def test_an_attention_that_is_not_installed_is_refused_by_name() -> None:
    for name in ("sage", "flash", "flash_hub", "xformers", "cudnn"):
        with pytest.raises(Ex4dError, match=f"'{name}'") as error:
            check_speed(Speed(attention=name), CPU)
        assert error.value.code == UNAVAILABLE
    check_speed(Speed(attention="auto"), CPU)


def test_batched_guidance_shows_the_blocks_two_prompts_at_once() -> None:
    transformer = small_wan()
    count, velocity = Count(transformer), wan_velocity(transformer, CPU, LATENTS)
    apart = velocity(LATENTS, 900.0, 5.0, False)
    assert (count.taken(), count.batch) == (2 * BLOCKS, 1)
    together = velocity(LATENTS, 900.0, 5.0, True)
    assert (count.taken(), count.batch) == (BLOCKS, 2)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)


def test_compiled_bodies_are_one_graph_inside_the_hooks_of_a_cache() -> None:
    transformer = small_wan()
    exact = ask(transformer, 900.0)
    torch.compiler.reset()
    counters.clear()
    effect = apply_speed(transformer, FAST, 25, backend="eager")
    assert (effect["compile"], effect["cache"], effect["notes"]) == (True, "first-block", [])
    assert list(compiled_bodies(transformer)) == list(transformer.blocks)
    for context in ("positive", "negative"):
        torch.testing.assert_close(ask(transformer, 900.0, context), exact, atol=1e-5, rtol=0)
    assert counters["stats"]["unique_graphs"] == 1
    remove_speed(transformer)
    assert not list(compiled_bodies(transformer))
    assert not transformer.is_cache_enabled
    assert torch.equal(ask(transformer, 900.0), exact)


def test_compiling_goes_inside_a_hook_that_was_there_before() -> None:
    transformer = small_wan()
    exact = ask(transformer, 900.0)
    seen = []

    class Watch(ModelHook):
        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            seen.append(module)
            return args, kwargs

    for block in transformer.blocks:
        HookRegistry.check_if_exists_or_initialize(block).register_hook(Watch(), "watch")
    assert apply_speed(transformer, Speed(compile=True), 25, backend="eager")["compile"]
    torch.testing.assert_close(ask(transformer, 900.0), exact, atol=1e-5, rtol=0)
    assert seen == list(transformer.blocks)
    remove_speed(transformer)
    assert not list(compiled_bodies(transformer))
    assert torch.equal(ask(transformer, 900.0), exact)


def test_blocks_whose_layers_are_cast_one_by_one_are_not_compiled() -> None:
    transformer = small_wan()
    transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    effect = apply_speed(transformer, Speed(compile=True), 25, backend="eager")
    assert not effect["compile"]
    assert "one by one" in effect["notes"][0]
    assert not list(compiled_bodies(transformer))


def test_a_model_that_cannot_be_compiled_says_so() -> None:
    transformer = small_wan()

    def broken(_graph: object, _inputs: object) -> None:
        raise ValueError("no such instruction")

    torch.compiler.reset()
    apply_speed(transformer, Speed(compile=True), 25, backend=broken)
    with pytest.raises(Ex4dError, match="could not be compiled") as error:
        ask(transformer, 900.0)
    assert (error.value.code, error.value.hint) == (UNAVAILABLE, "Set compile to off.")


def test_taylor_computes_the_first_steps_the_last_and_some_in_between() -> None:
    transformer = small_wan()
    apply_speed(transformer, Speed(cache="taylor", cache_interval=4), 20)
    count = Count(transformer)
    taken = []
    for step in range(20):
        ask(transformer, 1000.0 - 40 * step)
        taken.append(count.taken())
    assert taken == [BLOCKS if step < 4 or (step - 5) % 4 == 0 or step == 19 else 0 for step in range(20)]


def test_prompts_have_caches_of_their_own() -> None:
    transformer = small_wan()
    answers = {seed: ask(transformer, 900.0, seed=seed) for seed in (0, 1)}
    apply_speed(transformer, Speed(cache="first-block", cache_threshold=1.0), 25)
    count = Count(transformer)
    for context, seed in (("positive", 0), ("negative", 1)):
        assert torch.equal(ask(transformer, 900.0, context, seed), answers[seed])
        assert count.taken() == BLOCKS
    for context, seed in (("positive", 0), ("negative", 1)):  # the same again is taken from the cache, and is the same
        torch.testing.assert_close(ask(transformer, 900.0, context, seed), answers[seed], atol=1e-5, rtol=0)
        assert count.taken() == 1


@pytest.mark.parametrize("cache", ["first-block", "taylor"])
def test_a_window_begins_with_nothing_remembered(cache: str) -> None:
    transformer = small_wan()
    apply_speed(transformer, Speed(cache=cache, cache_threshold=1.0), 25)
    count = Count(transformer)
    for step in range(8):
        ask(transformer, 900.0 - step)
    assert count.taken() < 8 * BLOCKS
    begin_window(transformer)
    ask(transformer, 900.0)
    assert count.taken() == BLOCKS


def test_a_cache_is_of_no_use_with_few_steps() -> None:
    transformer = small_wan()
    effect = apply_speed(transformer, Speed(cache="taylor"), 4)
    assert effect["cache"] == "none"
    assert "4 steps" in effect["notes"][0]
    assert not transformer.is_cache_enabled


def test_vace_takes_the_cache_that_does_not_add_its_hints_twice() -> None:
    transformer = small_vace()
    exact = ask(transformer, 900.0)
    with pytest.raises(Ex4dError, match="VACE") as error:
        apply_speed(transformer, Speed(cache="first-block"), 25)
    assert error.value.code == UNSUPPORTED
    assert apply_speed(transformer, Speed(cache="auto"), 25)["cache"] == "taylor"
    count = Count(transformer)
    for _ in range(6):
        torch.testing.assert_close(ask(transformer, 900.0), exact, atol=1e-5, rtol=0)
    assert count.taken() == 5 * BLOCKS  # the sixth was guessed
