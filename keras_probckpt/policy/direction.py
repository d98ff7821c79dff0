"""Whether more or less of a quantity is better, told from its name."""

from __future__ import annotations

import re

from keras_probckpt.records import Mode

__all__ = ["is_known_direction", "mode_for"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A negated one is known too: neg_log_prob is to be minimized.
_LIKELIHOODS = _words("""
    log_prob logprob log_probs log_probability log_likelihood log_lik loglik loglikelihood likelihood log_density
    predictive_density log_evidence elbo evidence_lower_bound elpd lppd
""")
_ERRORS = _words("""
    nll nlpd nelbo negloglik neglogprob crps kl kld kl_div kl_divergence kullback_leibler_divergence
    mse mae rmse msle rmsle mape smape error error_rate err ece brier energy_score interval_score pinball
    crossentropy cross_entropy perplexity ppl hinge logcosh log_cosh poisson deviance bits_per_dim bpd wer cer
""")
# A negated one is anybody's guess: negative_recall may be the recall of the negative class.
_RATES = _words("""
    acc accuracy auc auroc auprc f1 f1score fbeta f_beta f_score fmeasure precision recall sensitivity specificity
    r2 r2score r_squared explained_variance iou io_u dice dice_coef dice_coefficient psnr ssim bleu ndcg mcc
""")
# Likewise: neg_log_loss is a score to some, and to Keras the loss of an output called neg_log.
_LOSSES = _words("loss logloss")

_MODES: dict[str, Mode] = {
    **dict.fromkeys(_LIKELIHOODS | _RATES, "max"),
    **dict.fromkeys(_ERRORS | _LOSSES, "min"),
}
_NEGATED_MODES: dict[str, Mode] = {**dict.fromkeys(_LIKELIHOODS, "min"), **dict.fromkeys(_ERRORS, "max")}
_NEGATIONS = _words("neg negated negative minus")

# Words that say over what a quantity was taken, and leave its direction alone.
_NEUTRAL = _words("""
    mean avg average sum total median expected normalized weighted macro micro ema mc score value metric val valid
    validation test train training per example datum point dim sample token epoch batch at k
""")
_NEUTRAL_BEFORE = _NEUTRAL | _words("""
    log marginal predictive posterior joint conditional root squared absolute percentage logarithmic
""")


def mode_for(monitor: str) -> Mode:
    """Tell the direction of a quantity from its name, or fall back to Keras's rule.

    Keras calls a metric `[val_]<output>_<metric>[_<number>]`, so the end of the name decides: `accuracy_loss` is the
    loss of an output called accuracy, and `loss_accuracy` the accuracy of one called loss. Words are compared whole:
    `eceptional` is no `ece`.

    Args:
        monitor: Key of the logs, in any case, its words separated by anything but letters and digits.

    Returns:
        `"max"` where more is better, `"min"` where less is.

    Source: the fallback is `tf_keras.callbacks.ModelCheckpoint`, `mode="auto"`.
    """
    return _known_mode(monitor) or ("max" if "acc" in monitor or monitor.startswith("fmeasure") else "min")


def is_known_direction(monitor: str) -> bool:
    """Tell whether `mode_for` knows this quantity, rather than falling back to Keras's rule."""
    return _known_mode(monitor) is not None


def _known_mode(monitor: str) -> Mode | None:
    words = re.findall(r"[a-z0-9]+", monitor.lower())
    while words:
        term = _term_at_end(words)
        if term is not None:
            before = words[: len(words) - term.count("_") - 1]
            return _NEGATED_MODES.get(term) if _is_negated(before) else _MODES[term]
        last = words.pop()
        if last not in _NEUTRAL and not last.isdigit():
            return None
    return None


def _term_at_end(words: list[str]) -> str | None:
    """Find the known term that the words end with, the longest of several."""
    ends = ("_".join(words[start:]) for start in range(len(words)))
    return next((end for end in ends if end in _MODES), None)


def _is_negated(before: list[str]) -> bool:
    """Tell whether the words before a term end in a negation: `negative_mean`, but not `negative_binomial`."""
    nearest = next((word for word in reversed(before) if word not in _NEUTRAL_BEFORE), None)
    return nearest in _NEGATIONS
