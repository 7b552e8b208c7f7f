"""Every learning rule, in each of its forms."""

import altprop

RULES = {
    "backprop": altprop.Backprop(),
    "shallow": altprop.Shallow(),
    "fa": altprop.FeedbackAlignment(seed=0),
    "usf": altprop.SignSymmetric(seed=0),
    "brsf": altprop.SignSymmetric("batchwise", seed=0),
    "frsf": altprop.SignSymmetric("fixed", seed=0),
    "kp": altprop.KolenPollack(seed=0),
    "dfa": altprop.DFA(seed=0),
    "dfa-channel": altprop.DFA(projection="channel", init="orthogonal", seed=0),
    "drtp": altprop.DRTP(seed=0),
    "drtp-forward": altprop.DRTP(when="forward", seed=0),
    "local-loss": altprop.LocalLoss(seed=0),
    "local-loss-trained": altprop.LocalLoss(classifier="trained", seed=0),
    "local-loss-forward": altprop.LocalLoss(when="forward", seed=0),
    "lfp": altprop.LFP(),
    "lfp-0": altprop.LFP(epsilon=0),
    "lfp-gamma": altprop.LFP(gamma=0.1),
    "lfp-oja": altprop.LFP(update="oja"),
}
