"""What the graph says to model providers and hears from them: messages, tools, answers, usage, kinds of failure.

Plain data and pure functions; the runtime that talks to providers is `perdure_activities.models`.
"""
