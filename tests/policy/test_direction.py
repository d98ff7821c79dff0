from __future__ import annotations

import pytest

from keras_probckpt.policy.direction import is_known_direction, mode_for

MORE_IS_BETTER = """
    acc accuracy binary_accuracy sparse_categorical_accuracy top_k_categorical_accuracy dense_1_accuracy accuracy_2
    auc auc_1 AUC roc_auc f1 f1_score f1score fbeta_score precision precision_at_recall recall recall_3 recall_at_10
    sensitivity_at_specificity r2 r2_score mean_iou mean_io_u fmeasure
    log_prob mean_log_prob log_prob_mean log_prob_per_example log_likelihood marginal_likelihood
    log_marginal_likelihood elbo elbo_per_datum dense_elbo log-prob test/log_prob
    negative_binomial_log_prob neg_binomial_log_likelihood neg_mean_squared_error neg_mse neg_nll
    loss_accuracy nll_log_prob
""".split()  # noqa: SIM905 - names are easier to read than quotes

LESS_IS_BETTER = """
    loss dense_loss reconstruction_loss log_loss loss_1 mean_loss
    accuracy_loss recall_loss log_prob_loss elbo_loss auc_1_loss
    nll mean_nll nll_per_dim negloglik neg_log_prob negative_log_prob negative_log_likelihood minus_log_prob
    neg_log_likelihood negative_mean_log_prob negative_log_marginal_likelihood negative_elbo neg_elbo dense_neg_elbo
    crps crps_mean kl kl_divergence kl_div mse mae rmse mean_squared_error mean_absolute_percentage_error
    root_mean_squared_error error_rate ece expected_calibration_error brier_score
    binary_crossentropy sparse_categorical_crossentropy categorical_cross_entropy perplexity bits_per_dim
    log_prob_error
""".split()  # noqa: SIM905 - names are easier to read than quotes

UNKNOWN = """
    macc acceptance_rate eceptional lossless klaxon mae2 coverage val_coverage kl_weight accuracy_std
    negative_recall neg_loss neg_log_loss negative_accuracy learning_rate lr score mean 12
""".split()  # noqa: SIM905 - names are easier to read than quotes


@pytest.mark.parametrize("prefix", ["", "val_"])
@pytest.mark.parametrize("monitor", MORE_IS_BETTER)
def test_more_of_a_known_gain_is_better(monitor: str, prefix: str) -> None:
    """Gains are maximized, alone and within the names that Keras makes, with and without `val_`."""
    assert mode_for(prefix + monitor) == "max"
    assert is_known_direction(prefix + monitor)


@pytest.mark.parametrize("prefix", ["", "val_"])
@pytest.mark.parametrize("monitor", LESS_IS_BETTER)
def test_less_of_a_known_cost_is_better(monitor: str, prefix: str) -> None:
    """Costs are minimized: losses of outputs called after a gain, and negated gains, too."""
    assert mode_for(prefix + monitor) == "min"
    assert is_known_direction(prefix + monitor)


@pytest.mark.parametrize("monitor", ["", "_", *UNKNOWN])
def test_a_name_that_is_not_known_is_said_to_be_unknown(monitor: str) -> None:
    """Words are compared whole, and what could mean either is not guessed at in silence."""
    assert not is_known_direction(monitor)


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("macc", "max"),
        ("acceptance_rate", "max"),
        ("accuracy_std", "max"),
        ("negative_accuracy", "max"),
        ("fmeasure2", "max"),
        ("my_fmeasure2", "min"),
        ("neg_log_loss", "min"),
        ("negative_recall", "min"),
        ("eceptional", "min"),
        ("val_coverage", "min"),
        ("MAcc", "min"),
        ("", "min"),
    ],
)
def test_an_unknown_name_follows_the_rule_of_keras(monitor: str, mode: str) -> None:
    """As in ModelCheckpoint, "acc" anywhere or "fmeasure" in front means more is better, case and all."""
    assert mode_for(monitor) == mode
