"""Records a pipeline's traffic: requests and answers, joined by request id, as Parquet in the object
store.

The service takes events and stores them in a stream before it acknowledges them (`handler`), and decides
which range of the stream is the next part (`service`, `state`). A program of its own writes that part and
ends (`writing`): only it imports pyarrow, so a recorder that waits is as small as a service of ours can be.
"""
