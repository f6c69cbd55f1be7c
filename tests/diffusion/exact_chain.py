"""Brute force for tiny grammars: all noisy states, their laws, and the reverse chain as a matrix over them."""

import itertools

import numpy as np


class Chain:
    """All states of d tokens as rows of `ids`, and what happens to them in a process; shares no code with bounds."""

    def __init__(self, process, sentences, probs):
        v, length = process.num_symbols, sentences.shape[1]
        self.process, self.sentences, self.probs = process, sentences.astype(int), probs
        self.states = np.array(list(itertools.product(range(process.num_states), repeat=length)))
        self.ids = np.where(self.states == v, v + 2, self.states)

    def forward(self, s, t):
        """q(x_t | x_s) of all pairs of states, or from the sentences where s is None (x_0)."""
        matrix = self.process.transition(0.0 if s is None else s, t).numpy()
        start = self.sentences if s is None else self.states
        return np.prod(matrix[start[:, None], self.states[None]], axis=-1)

    def joint(self, t):
        """q(x_0, x_t), `(sentences, states)`."""
        return self.probs[:, None] * self.forward(None, t)

    def denoised(self, t):
        """The exact p(x_0,i | x_t), `(states, d, v)`; uniform where a state is impossible."""
        joint, v = self.joint(t), self.process.num_symbols
        onehot = np.eye(v)[self.sentences]
        sums = np.einsum("xs,xiv->siv", joint, onehot)
        total = joint.sum(0)[:, None, None]
        return np.where(total > 0, sums / np.where(total > 0, total, 1), 1 / v)

    def reverse(self, s, t, denoised):
        """p(x_s | x_t) of all pairs, `(states at t, states at s)`: independent tokens, each mixed over its x_0."""
        to_s, to_t = (
            self.process.transition(0.0, s).numpy() if s > 0 else None,
            self.process.transition(0.0, t).numpy(),
        )
        onward = self.process.transition(s, t).numpy()
        v, size = self.process.num_symbols, self.process.num_states
        to_s = np.eye(size) if to_s is None else to_s
        # token law[x_t, x_0, x_s] by Bayes, 0 where x_0 cannot have become x_t
        law = to_s[None, :v, :] * onward.T[:, None, :]
        norm = to_t[:v].T[:, :, None]
        law = np.where(norm > 0, law / np.where(norm > 0, norm, 1), 0)
        rows = np.ones((len(self.states), len(self.states)))
        for i in range(self.states.shape[1]):
            mixed = np.einsum("sv,svk->sk", denoised[:, i], law[self.states[:, i]])
            # A visible token stays, also in states that no sentence leads to; at t = 1 there may be none.
            total = mixed.sum(1, keepdims=True)
            mixed /= np.where(total > 0, total, 1)
            rows *= mixed[:, self.states[:, i]]
        return rows

    def generated(self, steps):
        """The law of the sampler's result over all states, T steps from the prior with the exact denoiser."""
        prior = self.process.prior().numpy()
        law = np.prod(prior[self.states], axis=1)
        for k in range(steps, 0, -1):
            law = law @ self.reverse((k - 1) / steps, k / steps, self.denoised(k / steps))
        return law

    def bound(self, steps):
        """The T-step bound of every sentence with the exact denoiser, nats, summed over all noisy states."""
        total = np.zeros(len(self.sentences))
        for k in range(1, steps + 1):
            s, t = (k - 1) / steps, k / steps
            p = self.reverse(s, t, self.denoised(t))
            to_s = self.forward(None, s) if s > 0 else self._identity()
            to_t, onward = self.forward(None, t), self.forward(s, t) if s > 0 else self.forward(0.0, t)
            for x in range(len(self.sentences)):
                pair = to_s[x][:, None] * onward  # q(x_s, x_t | x_0)
                q = pair / np.where(to_t[x] > 0, to_t[x], 1)
                used = pair > 0
                total[x] += (pair[used] * (np.log(q[used]) - np.log(p.T[used]))).sum()
        prior = np.prod(self.process.prior().numpy()[self.states], axis=1)
        for x, law in enumerate(self.forward(None, 1.0)):
            used = law > 0
            total[x] += (law[used] * np.log(law[used] / prior[used])).sum()
        return total

    def _identity(self):
        return (self.sentences[:, None] == self.states[None]).all(-1).astype(float)
