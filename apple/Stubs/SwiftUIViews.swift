import Foundation

public struct LocalizedStringKey: ExpressibleByStringInterpolation, Sendable {
    public init(stringLiteral value: String) {}
}

public struct Text: PrimitiveView {
    public init(_ key: LocalizedStringKey) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ content: S) {}
}

public struct Label<Title: View, Icon: View>: PrimitiveView {
    @_disfavoredOverload
    public init<S: StringProtocol>(_ title: S, systemImage name: String) where Title == Text, Icon == EmptyView {}
}

public struct HorizontalAlignment: Sendable { public static let leading = HorizontalAlignment() }

public struct VStack<Content: View>: PrimitiveView {
    public init(alignment: HorizontalAlignment, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content) {}
}

public struct List<SelectionValue, Content: View>: PrimitiveView {
    public init(@ViewBuilder content: () -> Content) where SelectionValue == Never {}
}

public struct Section<Parent, Content: View, Footer>: PrimitiveView {
    public init(@ViewBuilder content: () -> Content) where Parent == EmptyView, Footer == EmptyView {}
    @_disfavoredOverload
    public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) where Parent == Text, Footer == EmptyView {}
}

public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content: View>: PrimitiveView {
    public init(_ data: Data, id: KeyPath<Data.Element, ID>, @ViewBuilder content: @escaping (Data.Element) -> Content) {}
    public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content)
    where Data.Element: Identifiable, ID == Data.Element.ID {}
}

public struct NavigationStack<Path, Root: View>: PrimitiveView {
    public init(path: Binding<Path>, @ViewBuilder root: () -> Root)
    where Path: MutableCollection, Path: RandomAccessCollection, Path: RangeReplaceableCollection, Path.Element: Hashable {}
}

public struct NavigationLink<Title: View, Destination>: PrimitiveView {
    public init<P: Hashable>(_ title: LocalizedStringKey, value: P?) where Title == Text, Destination == Never {}
}

public struct Toggle<Title: View>: PrimitiveView {
    public init(_ title: LocalizedStringKey, isOn: Binding<Bool>) where Title == Text {}
}

public struct ButtonRole: Sendable {
    public static let destructive = ButtonRole()
    public static let cancel = ButtonRole()
}

public struct Button<Title: View>: PrimitiveView {
    public init(_ title: LocalizedStringKey, action: @escaping @MainActor () -> Void) where Title == Text {}
    public init(_ title: LocalizedStringKey, role: ButtonRole?, action: @escaping @MainActor () -> Void) where Title == Text {}
}

public struct TextField<Title: View>: PrimitiveView {
    public init(_ title: LocalizedStringKey, text: Binding<String>) where Title == Text {}
}

public struct ProgressView<Title: View>: PrimitiveView {
    public init(_ title: LocalizedStringKey) where Title == Text {}
}

public struct LabeledContent<Title: View, Content: View>: PrimitiveView {
    public init<S: StringProtocol>(_ title: LocalizedStringKey, value: S) where Title == Text, Content == Text {}
    @_disfavoredOverload
    public init<A: StringProtocol, B: StringProtocol>(_ title: A, value: B) where Title == Text, Content == Text {}
}

public struct Picker<Title: View, Value: Hashable, Content: View>: PrimitiveView {
    public init(_ title: LocalizedStringKey, selection: Binding<Value>, @ViewBuilder content: () -> Content) where Title == Text {}
}

public struct Link<Title: View>: PrimitiveView {
    public init(_ title: LocalizedStringKey, destination: URL) where Title == Text {}
}

public struct ShareLink<Title: View>: PrimitiveView {
    public init(_ title: LocalizedStringKey, item: String) where Title == Text {}
}

public struct Font: Sendable {
    public enum TextStyle: Sendable { case footnote }
    public enum Design: Sendable { case monospaced }
    public static let body = Font()
    public static let footnote = Font()
    public static let headline = Font()
    public static let title2 = Font()
    public static func system(_ style: TextStyle, design: Design? = nil) -> Font { Font() }
}

public struct HierarchicalShapeStyle: Sendable { public static let secondary = HierarchicalShapeStyle() }
public struct AccessibilityTraits: Sendable { public static let isHeader = AccessibilityTraits() }
public struct AccessibilityChildBehavior: Sendable { public static let combine = AccessibilityChildBehavior() }
public struct EnabledTextSelectability: Sendable { public static let enabled = EnabledTextSelectability() }
public struct TextInputAutocapitalization: Sendable { public static var never: TextInputAutocapitalization { Self() } }
public enum Visibility: Sendable { case automatic, visible, hidden }

extension View {
    public func font(_ font: Font?) -> some View { self }
    public func foregroundStyle(_ style: HierarchicalShapeStyle) -> some View { self }
    public func textSelection(_ selectability: EnabledTextSelectability) -> some View { self }
    public func disabled(_ disabled: Bool) -> some View { self }
    public func textInputAutocapitalization(_ autocapitalization: TextInputAutocapitalization?) -> some View { self }
    public func autocorrectionDisabled(_ disable: Bool = true) -> some View { self }
    public func accessibilityLabel(_ label: LocalizedStringKey) -> some View { self }
    public func accessibilityAddTraits(_ traits: AccessibilityTraits) -> some View { self }
    public func accessibilityElement(children: AccessibilityChildBehavior) -> some View { self }
    public func navigationTitle(_ title: LocalizedStringKey) -> some View { self }
    public func navigationDestination<D: Hashable, C: View>(
        for data: D.Type, @ViewBuilder destination: @escaping (D) -> C
    ) -> some View { self }
    public func onSubmit(_ action: @escaping () -> Void) -> some View { self }
    public func onDisappear(perform action: (() -> Void)? = nil) -> some View { self }
    public func onOpenURL(perform action: @escaping (URL) -> Void) -> some View { self }
    public func onChange<V: Equatable>(of value: V, _ action: @escaping (V, V) -> Void) -> some View { self }
    @preconcurrency
    public func task(@_inheritActorContext _ action: @escaping @Sendable @isolated(any) () async -> Void) -> some View { self }
    public func refreshable(@_inheritActorContext action: @escaping @Sendable () async -> Void) -> some View { self }
    public func toolbar<Content: View>(@ViewBuilder content: () -> Content) -> some View { self }
    public func sheet<Content: View>(isPresented: Binding<Bool>, @ViewBuilder content: @escaping () -> Content) -> some View {
        self
    }
    public func confirmationDialog<A: View, M: View>(
        _ title: String, isPresented: Binding<Bool>, titleVisibility: Visibility = .automatic,
        @ViewBuilder actions: () -> A, @ViewBuilder message: () -> M
    ) -> some View { self }
}
