"""Stop and keep in the real server: the training ends, and the graph goes on with the word."""

import json
from typing import Any

import pytest
from graphs import Prompt, graph, image, run, saved_path
from headless import Server
from safetensors import safe_open

LONG = 400


def stop(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    said = json.loads(server._request("/textual_inversion/stop", body))
    assert said.pop("moment") > 0
    return said


def long_training(seed: int, **changes: Any) -> Prompt:
    return graph(train__steps=LONG, train__seed=seed, **changes)


def stopped_at_the_third_step(server: Server, prompt: Prompt, body: dict[str, Any]) -> Any:
    """The outputs of a prompt whose training is stopped, and what the route said."""
    said: list[dict[str, Any]] = []

    def look(value: int, maximum: int, text: str) -> None:
        if maximum == LONG and value >= 3 and not said:
            said.append(stop(server, body))

    outputs = run(server, prompt, on_progress=look, timeout=120)
    return outputs, said


@pytest.mark.parametrize(("seed", "body"), [(101, {"node_id": "train"}), (102, {})])
def test_the_graph_goes_on_with_what_was_learned(server: Server, seed: int, body: dict[str, Any]):
    outputs, said = stopped_at_the_third_step(server, long_training(seed), body)
    assert said == [{"stopped": ["train"]}]
    assert 3 <= len(outputs["train"]["ti_loss"]) < LONG
    assert "Learned 'my-star'" in outputs["train"]["text"][0]
    with safe_open(saved_path(server, outputs), "pt") as opened:
        kept = opened.get_tensor("emb_params")
    untrained = run(server, graph(save__embedding=["word", 0], train__seed=seed))
    with safe_open(saved_path(server, untrained), "pt") as opened:
        assert not opened.get_tensor("emb_params").equal(kept)
    assert image(server, outputs)


def test_a_node_in_a_subgraph_is_found_by_its_whole_id(server: Server):
    prompt = long_training(103)
    prompt["7:12"] = prompt.pop("train")
    for name, input_name in (("save", "embedding"), ("apply", "embedding")):
        prompt[name]["inputs"][input_name] = ["7:12", 0]
    outputs, said = stopped_at_the_third_step(server, prompt, {"node_id": "7:12"})
    assert said == [{"stopped": ["7:12"]}]
    assert saved_path(server, outputs).is_file()


def test_another_node_does_not_stop_it_and_cancel_still_cancels(server: Server):
    prompt_id = server.queue(long_training(104))
    said: list[str] = []

    def look(value: int, maximum: int, text: str) -> None:
        if maximum == LONG and value >= 3 and not said:
            with pytest.raises(RuntimeError) as answer:
                stop(server, {"node_id": "12"})
            said.append(str(answer.value))
            server.interrupt()

    with pytest.raises(RuntimeError, match="interrupted"):
        server.wait(prompt_id, look, timeout=120)
    assert "answered 404" in said[0] and "No training is running on node '12'." in said[0]


def test_where_nothing_trains_the_answer_says_so(server: Server):
    for path in ("/textual_inversion/stop", "/api/textual_inversion/stop"):
        with pytest.raises(RuntimeError, match="404.*No training is running in this ComfyUI"):
            server._request(path, {})
    with pytest.raises(RuntimeError, match="answered 400"):
        stop(server, {"node_id": 12})
    with pytest.raises(RuntimeError, match="answered 413"):
        stop(server, {"node_id": "x" * 2000})
