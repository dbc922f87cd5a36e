"""The model runtime: everything between `InvokeModel` and a provider's wire.

    invoke_model (activity) -> Runtime.invoke
        -> journal     an answer already paid for under this key is taken
        -> cache       so is an equal one kept from before, where the node wants that
        -> route       deployments that serve the model: healthy, under their limits, least loaded; then fallbacks
        -> limits      requests, tokens and concurrency, shared by all workers through the store
        -> budgets     reserved before the call, settled after it
        -> adapter     speaks the provider's protocol, yields deltas
        -> accumulate  deltas make the answer; the same deltas go to whoever reads along
        -> settle      answer, usage and budgets in one transaction

`protocol` has the seams between these.
"""
