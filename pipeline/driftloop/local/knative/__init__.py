"""The stand-in for Knative's broker: an HTTP ingress, a JetStream stream per Broker, a durable
consumer per Trigger.

It acts on the Broker and Trigger objects of the applied commit and answers as the multi-tenant
broker does (status, retry and back-off, dead letter, replies). What it does not know in a Trigger
it refuses by name and does not deliver.
"""
