"""What one program may use."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class Limits(BaseModel):
    """Limits for one program, all of its calls together. The wall limit bounds all processes, the others each one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_seconds: float = Field(default=20.0, gt=0, le=3600)
    cpu_seconds: int = Field(default=10, ge=1, le=3600)
    memory_bytes: int = Field(default=512 * MIB, ge=64 * MIB)
    processes: int = Field(default=32, ge=4, le=4096, description="processes and threads at one time")
    open_files: int = Field(default=64, ge=16, le=4096)
    file_bytes: int = Field(default=16 * MIB, ge=4096, description="largest single file")
    disk_bytes: int = Field(default=16 * MIB, ge=4096, description="size of the private /tmp")
    output_bytes: int = Field(default=1 * MIB, ge=1024, description="standard output and standard error together")
    reply_bytes: int = Field(default=4 * MIB, ge=1024, description="encoded return values of all calls")
    source_bytes: int = Field(default=1 * MIB, ge=1024, description="longer programs are not run")
