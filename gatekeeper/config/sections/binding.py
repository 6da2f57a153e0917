"""`[binding]`: how a session is tied to a device."""

from gatekeeper.domain.document import Table
from gatekeeper.gate.identify import BindingSettings, CertificateField, Method

_FUTURE_METHODS = ("device_credential", "oauth_token", "eas_device_id")


def read_binding(table: Table, notes: list[str]) -> BindingSettings:
    """The methods, strongest first; those that never answer yet are noted."""
    default = BindingSettings()
    order = []
    for name in table.texts("order", [method.value for method in default.order]):
        if name in _FUTURE_METHODS:
            notes.append(f"binding.order: `{name}` never answers in this version")
        elif name in {method.value for method in Method}:
            order.append(Method(name))
        else:
            known = ", ".join([*(method.value for method in Method), *_FUTURE_METHODS])
            table.fault("order", f"`{name}` is not one of {known}")
    settings = BindingSettings(
        order=tuple(order),
        certificate_field=table.choice("certificate_field", CertificateField, default.certificate_field),
        uri_prefix=table.text("certificate_uri_prefix", default.uri_prefix),
    )
    table.done()
    return settings
