"""The RTVI door: client SDKs of Pipecat over a WebSocket, and how they learn where to connect."""
